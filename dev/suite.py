"""The contents of the suite: its tools and its workflows."""

from dev.environments import PROJECT

# The file name of a tool's form is its id. Some tools share a directory and its modules.
TOOLS = [
    PROJECT / "tools" / form
    for form in (
        "iscc_sum/iscc_sum.xml",
        "iscc_sum/iscc_pixels.xml",
        "iscc_sum/iscc_panels.xml",
        "iscc_sum/iscc_trail.xml",
        "iscc_similarity/iscc_similarity.xml",
        "iscc_verify/iscc_verify.xml",
        "iscc_verify/iscc_gate.xml",
        "iscc_verify/iscc_seal.xml",
    )
]
# The image analysis of the demo and the tests: two tools, and a workflow of both.
ANALYSIS = PROJECT / "dev" / "analysis"
STEPS = [ANALYSIS / "smooth.xml", ANALYSIS / "figure.xml"]
WORKFLOWS = {
    name: PROJECT / "workflows" / name / f"{name}.gxwf.yml"
    for name in (
        "fingerprint-collection",
        "deduplicate-collection",
        "deduplicate-images",
        "verify-delivery",
        "trace-against-archive",
        "audit-conversion",
        "trace-figure",
        "verify-lineage",
        "verify-publication",
    )
}
