"""What an exercise's script imports: one run is one folder, written completely or not at all."""
