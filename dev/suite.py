"""What the suite consists of: its tools and its workflows."""

from dev.environments import PROJECT

# A tool's form is called as its id is. Two of them share a folder, and so the modules in it.
TOOLS = [
    PROJECT / "tools" / form
    for form in (
        "iscc_sum/iscc_sum.xml",
        "iscc_sum/iscc_pixels.xml",
        "iscc_similarity/iscc_similarity.xml",
        "iscc_verify/iscc_verify.xml",
    )
]
WORKFLOWS = {
    name: PROJECT / "workflows" / name / f"{name}.gxwf.yml"
    for name in (
        "fingerprint-collection",
        "deduplicate-collection",
        "verify-delivery",
        "trace-against-archive",
        "audit-conversion",
        "trace-figure",
    )
}
