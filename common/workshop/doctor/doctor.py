"""The command `workshop doctor`: all checks run at once, with a deadline for everything that may never answer."""

from __future__ import annotations

import json
import time

from workshop.doctor import environments, machine, network, printing, routes, tools
from workshop.doctor.checkout import find_root, read_checkout
from workshop.doctor.row import Row
from workshop.support import report, timeouts

DEADLINE = 7.0  # seconds for everything that may hang: driver, tools, network
RESPONSE_TIMEOUT = 4.0  # seconds to wait for a server or a tool


def main(as_json: bool, offline: bool) -> int:
    """Run all checks, print the report and return the exit code. offline: contact no server; assume that all answer."""
    deadline = time.monotonic() + DEADLINE
    machine_check = timeouts.start_in_thread(machine.inspect_machine, DEADLINE - 0.5)
    tool_checks = {name: timeouts.start_in_thread(tools.version_of, name, RESPONSE_TIMEOUT) for name in ("pixi", "git")}
    checkout = read_checkout(find_root())
    servers = [] if offline else network.servers(checkout)
    server_checks = [
        (server, timeouts.start_in_thread(network.probe, server.url, RESPONSE_TIMEOUT)) for server in servers
    ]
    this_machine = timeouts.wait_for(machine_check, deadline)
    versions = {name: timeouts.wait_for(check, deadline) for name, check in tool_checks.items()}
    rows = [
        *machine.rows(this_machine),
        *tools.rows(checkout, versions["pixi"], versions["git"]),
        *environments.disk_rows(checkout),
    ]
    no_answer = network.ServerStatus(False, f"no answer within {DEADLINE:g} s")
    rows += [network.row(server, timeouts.wait_for(check, deadline) or no_answer) for server, check in server_checks]
    if offline:
        found = "not contacted (--offline): assumed to answer"
        rows.append(Row(group="network", subject="servers", passed=None, found=found))
    rows += environments.rows(checkout, this_machine)
    rows, open_routes = routes.judge(rows, checkout)
    next_step = routes.next_step(rows, open_routes, checkout)
    if as_json:
        print(json.dumps(printing.as_document(rows, open_routes, this_machine, next_step), indent=2))
    else:
        report.print_lines(printing.lines(rows, open_routes, next_step))
    return 0 if any(open_routes.values()) else 1
