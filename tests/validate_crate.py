"""Validate an RO-Crate against the Workflow Run Crate profile without a network.

    python tests/validate_crate.py FOLDER

roc-validator fetches the JSON-LD context of RO-Crate 1.1 from w3id.org. The rocrate library ships
the context of 1.3. This script writes its Bioschemas terms as 1.1 has them, puts it into the
validator's cache, and runs the validator offline. Ends with the validator's exit code.

Notable: with a network, `rocrate-validator validate --profile-identifier workflow-run-crate FOLDER`
does the same with the file from w3id.org.
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
ACCEPT_HEADERS = (
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
    """Run the validator on an unpacked crate; `severity` is required, recommended or optional."""
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        session = CachedSession(
            cache_name=str(cache), expire_after=-1, backend="sqlite", allowable_codes=(200,)
        )
        session.mount("https://", Shipped())
        for accepted in ACCEPT_HEADERS:
            session.get(CONTEXT, headers={"Accept": accepted})
        session.close()
        command = [sys.executable, "-c", "from rocrate_validator.cli import cli; cli()"]
        command += ["-y", "validate", "--offline", "--cache-path", str(cache)]
        command += ["--profile-identifier", "workflow-run-crate"]
        command += ["--requirement-severity", severity, "--skip-availability-check"]
        command += ["--verbose", folder]
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
