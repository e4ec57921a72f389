"""The catalogue: stations with inlets, instruments, ports and channels; cylinders. TOML or CSV in, TOML out.

Applying a document adds what is new and changes what differs; what it does not mention stays. A port that moves to
another inlet, and a cylinder that is assigned another value, are given ``from``: what held before ends there. Every
change is kept, with who made it.
"""

from ingest.catalogue.apply import Applied, apply
from ingest.catalogue.export import export, toml
from ingest.catalogue.history import Change, history

__all__ = ["Applied", "Change", "apply", "export", "history", "toml"]
