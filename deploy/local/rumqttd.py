"""Run rumqttd of the iotcore wheel in this process, which then belongs to it.

A process of its own (`python -m deploy.local.rumqttd PORT PAYLOAD INFLIGHT SIGNAL PARENT UID GID`): the library
is loaded before the account changes, because that account may not be able to read it.
"""

import logging
import os
import sys

from iotcore.iotcore import IotCoreBroker

from deploy.local.leash import UNCHANGED, die_with_parent, drop


def main() -> None:
    """Load, drop, leash, serve until killed."""
    port, payload, inflight, signal_number, parent, uid, gid = (int(word) for word in sys.argv[1:8])
    drop(UNCHANGED if uid == os.geteuid() else uid, gid)
    die_with_parent(signal_number, parent)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # rumqttd reports every routed packet as an error span.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    broker = IotCoreBroker(
        listen="127.0.0.1", port=port, max_payload_size=payload, max_inflight_count=inflight, max_connections=1000
    )
    broker.run_forever()


if __name__ == "__main__":
    main()
