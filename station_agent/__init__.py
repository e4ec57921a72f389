"""What runs on the station: reads an instrument, spools durably, delivers over MQTT.

Imports the standard library and paho-mqtt only, so that it installs and starts on a small box.
"""

__version__ = "0.1.0"
