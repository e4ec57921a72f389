"""The services of the one-machine stack: commands of ours that work beside its servers."""

import sys

from deploy.local.service import Service

_OURS = (sys.executable, "-P", "-m", "deploy")

MIGRATE = Service("migrate", (*_OURS, "db", "migrate", "--dsn", "{dsn}"), once=True)
INGEST = Service("ingest", (*_OURS, "ingest", "run", "--dsn", "{dsn}", "--broker", "{broker}"))
QC = Service("qc", (*_OURS, "qc", "run", "--dsn", "{dsn}", "--watch"))
