"""Certificates and a broker that wants them."""

import subprocess
import time
from contextlib import contextmanager

from deploy.local.broker import free_port, mosquitto_program


def openssl(folder, *arguments):
    """Run openssl in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder):
    """Make an authority, a broker's and a station's certificate from it, and another authority."""
    folder.chmod(0o755)
    for name in ("ca", "other"):
        subject = ("-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # newer Pythons check it
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *usage, *subject)
    (folder / "names").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("broker", "lin-an"):
        keys = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", *keys)
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    for key in folder.glob("*.key"):
        key.chmod(0o600)


def table(certificates, **names):
    """Return the table of a configuration with these files."""
    return "[broker.tls]\n" + "".join(f'{key} = "{certificates}/{name}"\n' for key, name in names.items())


@contextmanager
def tls_broker(folder, certificates):
    """Mosquitto that wants TLS and a certificate of the station on one port, and nothing on another: (tls, plain)."""
    ports = free_port(), free_port()
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"per_listener_settings true\nuser root\nlistener {ports[0]} 127.0.0.1\ncafile {certificates}/ca.pem\n"
        f"certfile {certificates}/broker.pem\nkeyfile {certificates}/broker.key\nrequire_certificate true\n"
        f"allow_anonymous true\nlistener {ports[1]} 127.0.0.1\nallow_anonymous true\n"
    )
    process = subprocess.Popen([mosquitto_program(), "-c", configuration], stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        yield ports
    finally:
        process.kill()
        process.communicate()
