"""An audit's result in words for people and as JSON for programs.

Notable: the JSON is a function of the folder and the code alone. It holds no times, no machine and
no logs, so two audits of the same folder give the same bytes.
Left out: the check itself (wagle/audit/check.py).
"""

import os

from wagle.audit.check import CLASSES, Audit
from wagle.audit.record_graph import descendants, machines, records_digest

MEANING = {
    "intact": "have the bytes that their jobs recorded",
    "temporary": "were removed after use or left out of an archive; "
    "their hashes stay in the records",
    "stale": "are whole, but made from an earlier input or by other code than this checkout's",
    "missing": "were recorded and are gone",
    "altered": "are not what was recorded",
    "unaccounted": "are known to no record",
    "log": "are logs and benchmarks, which no record covers",
    "unfinished": "were left by a job that was stopped; no job reads them",
}
TO_DO = {
    "altered": "find out who changed them; delete them and the records beside them, "
    "and their jobs run again",
    "missing": "delete the folder that they were in; "
    "the same snakemake command then makes it again",
    "unaccounted": "look at what they are, then move them out of the results folder",
    "stale": "snakemake -n says what would run again; to keep the results as they are, "
    "check out the code that made them",
    "unfinished": "the same snakemake command carries on and removes them",
}
VERDICTS = {
    "clean": "clean. Nothing was lost, altered or swapped: every table and figure was made from "
    "the files that are here, by the code that is here.",
    "stale": "stale. Nothing was lost, altered or swapped, but some results are older than the "
    "code or the inputs that are here.",
    "problems": "PROBLEMS. Do not trust what is listed above, nor what was made from it.",
}


def as_text(audit: Audit, limit: int = 10) -> str:
    """The report for people. At most `limit` paths of each class are listed."""
    files, megabytes = sum(audit.counts.values()), audit.intact_bytes / 1e6
    lines = [
        f"{audit.name}: {len(audit.records)} records, {files} files, {megabytes:.1f} MB hashed"
    ]
    lines.append("")
    lines += [f"{audit.counts[kind]:8d} {kind:12s} {MEANING[kind]}" for kind in CLASSES]
    for kind, advice in TO_DO.items():
        findings = [finding for finding in audit.findings if finding.kind == kind]
        if findings:
            lines += ["", f"{kind}:"]
            lines += [f"  {finding.path}: {finding.why}" for finding in findings[:limit]]
            if len(findings) > limit:
                lines.append(f"  and {len(findings) - limit} more")
            lines.append(f"  To do: {advice}.")
    affected = _made_from_bad_files(audit)
    if affected:
        lines += ["", f"{len(affected)} further records were made from these."]
    lines += ["", *machines(audit.records)]
    lines.append(f"Fingerprint of all records: {records_digest(audit.records)}")
    lines += ["", f"Verdict: {VERDICTS[audit.verdict]}"]
    return "\n".join(lines) + "\n"


def _made_from_bad_files(audit: Audit) -> set[str]:
    """Records that were made from a stale or altered file or record."""
    paths = {finding.path for finding in audit.findings if finding.kind in ("stale", "altered")}
    owners = {f"{os.path.dirname(path)}/manifest.json" for path in paths}
    return descendants(audit.records, paths | owners)


def as_json(audit: Audit) -> dict:
    """The report for programs: name, verdict, number of records, files by class, findings."""
    return {
        "name": audit.name,
        "verdict": audit.verdict,
        "records": len(audit.records),
        "files": {
            kind: audit.counts[kind] for kind in CLASSES if kind not in ("log", "unfinished")
        },
        "findings": [
            finding._asdict()
            for finding in audit.findings
            if finding.kind not in ("temporary", "unfinished")
        ],
    }
