"""The command `workshop doctor`: everything is looked at at once, with a deadline for all that may never answer."""

from __future__ import annotations

import json
import time

from workshop.doctor import checkout, environments, judgement, machine, network, printing, tools
from workshop.doctor.row import Row
from workshop.support import report, timeouts

DEADLINE = 7.0  # seconds for everything that may hang: driver, tools, network
SILENCE = 4.0  # seconds without a word from a server or a tool


def main(as_json: bool, offline: bool) -> int:
    """Look, print the report, and return the exit code. offline: ask no server; what they hold is taken as there."""
    until = time.monotonic() + DEADLINE
    asked_machine = timeouts.start_in_thread(machine.look, DEADLINE - 0.5)
    asked_tools = {name: timeouts.start_in_thread(tools.version_of, name, SILENCE) for name in ("pixi", "git")}
    here = checkout.read(checkout.find())
    servers = [] if offline else network.servers(here)
    asked_servers = [(server, timeouts.start_in_thread(network.reach, server.url, SILENCE)) for server in servers]
    mine = timeouts.wait_for(asked_machine, until)
    versions = {name: timeouts.wait_for(asked, until) for name, asked in asked_tools.items()}
    rows = [*machine.rows(mine), *tools.rows(here, versions["pixi"], versions["git"]), *environments.disk_rows(here)]
    silent = network.Reached(False, f"no answer within {DEADLINE:g} s")
    rows += [network.row(server, timeouts.wait_for(asked, until) or silent) for server, asked in asked_servers]
    if offline:
        found = "not asked (--offline): what they hold is taken as there"
        rows.append(Row(group="network", what="servers", good=None, found=found))
    rows += environments.rows(here, mine)
    rows, routes = judgement.judge(rows, here)
    next_step = judgement.advice(rows, routes, here)
    if as_json:
        print(json.dumps(printing.as_document(rows, routes, mine, next_step), indent=2))
    else:
        report.print_lines(printing.lines(rows, routes, next_step))
    return 0 if any(routes.values()) else 1
