"""What the suite consists of: its tools and its workflows."""

from dev.environments import PROJECT

TOOLS = [
    PROJECT / "tools" / tool / f"{tool}.xml"
    for tool in ("iscc_sum", "iscc_similarity", "iscc_verify")
]
WORKFLOWS = {
    name: PROJECT / "workflows" / name / f"{name}.gxwf.yml"
    for name in (
        "fingerprint-collection",
        "deduplicate-collection",
        "verify-delivery",
        "trace-against-archive",
    )
}
