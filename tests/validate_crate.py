"""Validate an RO-Crate against the Workflow Run Crate profile without a network: python tests/validate_crate.py FOLDER

roc-validator fetches the JSON-LD context of RO-Crate 1.1 from w3id.org. The rocrate library ships the context of 1.3; with its
Bioschemas terms written as 1.1 has them, it is put into the validator's cache, and the validator runs offline. With a network,
`rocrate-validator validate --profile-identifier workflow-run-crate FOLDER` does the same with the file from w3id.org.
Ends with the validator's exit code.
"""

import io
import os
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from requests.adapters import BaseAdapter, HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
FORMS = (
    "application/ld+json, application/json",
    "application/ld+json",
    "application/ld+json, application/json;q=0.5",
    "*/*",
)


class Shipped(BaseAdapter):
    """Answers every request with the context that the rocrate library ships."""

    def send(self, request, **_):
        text = (resources.files("rocrate") / "data" / "ro-crate.jsonld").read_text(encoding="utf-8")
        body = io.BytesIO(text.replace("bioschemas.org/terms/", "bioschemas.org/").encode())
        kind = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(
            body, headers=kind, status=200, preload_content=False, request_url=request.url
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self):
        pass


def validate(folder: str, severity: str = "required") -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        session = CachedSession(
            cache_name=str(cache), expire_after=-1, backend="sqlite", allowable_codes=(200,)
        )
        session.mount("https://", Shipped())
        for form in FORMS:
            session.get(CONTEXT, headers={"Accept": form})
        session.close()
        command = [
            sys.executable, "-c", "from rocrate_validator.cli import cli; cli()", "-y", "validate", "--offline",
            "--cache-path", str(cache), "--profile-identifier", "workflow-run-crate", "--requirement-severity", severity,
            "--skip-availability-check", "--verbose", folder,
        ]  # fmt: skip
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"NO_COLOR": "1", "COLUMNS": "150"},
        )


if __name__ == "__main__":
    done = validate(*sys.argv[1:])
    print(done.stdout + done.stderr)
    sys.exit(done.returncode)
