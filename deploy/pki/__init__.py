"""Certificates of a network: its authority, its broker, its stations, its ingest workers, and who may say what."""

from deploy.pki.authority import Authority, Kind, Record, State
from deploy.pki.rules import access_rules

__all__ = ["Authority", "Kind", "Record", "State", "access_rules"]
