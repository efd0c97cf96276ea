"""Certificates for tests, made by openssl: an authority, and whom it vouches for."""

import subprocess


class Authority:
    """An authority in a folder; `issue` gives (certificate, key) of 127.0.0.1 and localhost."""

    def __init__(self, folder, name="authority"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", self._key, "-out", self.ca,
        )  # fmt: skip

    def issue(self, name):
        cert, key, asked, more = (self.folder / f"{name}.{end}" for end in ("crt", "key", "csr", "ext"))
        more.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", asked)
        openssl(
            "x509", "-req", "-in", asked, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-days", "2",
            "-extfile", more, "-out", cert,
        )  # fmt: skip
        return cert, key


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
