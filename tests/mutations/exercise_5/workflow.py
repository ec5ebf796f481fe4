"""Exercise 5: mistakes in the workflow."""

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"

# (file, find, replace, name of the finding, number of the check)
BROKEN = [
    # ------------------------------------------------------------ 5.7: what the workflow may do
    ("image.yml", CHECKOUT, "actions/checkout@v7", "action-pinned", "5.7"),
    ("image.yml", CHECKOUT, "actions/checkout@3d3c42e", "action-pinned", "5.7"),
    ("image.yml", CHECKOUT, "actions/checkout", "action-pinned", "5.7"),
    ("image.yml", "permissions:\n  contents: read\n\n", "permissions: write-all\n\n", "read-only", "5.7"),
    ("image.yml", "permissions:\n  contents: read\n\n", "", "read-only", "5.7"),
    ("image.yml", "  contents: read\n\nconc", "  contents: read\n  packages: write\n\nconc", "read-only", "5.7"),
    (
        "image.yml",
        "      contents: read\n      packages",
        "      contents: write\n      packages",
        "least-rights",
        "5.7",
    ),
    (
        "image.yml",
        "    timeout-minutes: 60\n    steps",
        "    timeout-minutes: 60\n    permissions:\n      packages: write\n    steps",
        "least-rights",
        "5.7",
    ),
    ("image.yml", "        with:\n          persist-credentials: false\n", "", "credentials-kept", "5.7"),
    ("image.yml", "  pull_request:\n", "  pull_request_target:\n", "dangerous-trigger", "5.7"),
    (
        "image.yml",
        "pixi run --locked test",
        'pixi run --locked test "${{ github.head_ref }}"',
        "script-injection",
        "5.7",
    ),
    ("image.yml", "persist-credentials: false", "persist-credentials: no", "credentials-kept", "5.7"),
    ("image.yml", "permissions:\n  contents: read\n\n", "permissions: read\n\n", "permissions-valid", "5.7"),
    (
        "image.yml",
        "permissions:\n  contents: read\n\n",
        "permissions:\n  content: read\n\n",
        "permissions-valid",
        "5.7",
    ),
    ("image.yml", "packages: write", "package: write", "permissions-valid", "5.7"),
    ("image.yml", "attestations: write", "attestations: true", "permissions-valid", "5.7"),
    ("image.yml", "    permissions:\n      contents: read\n", "    permissions:\n", "missing-rights", "5.7"),
    ("image.yml", CHECKOUT, CHECKOUT[:17] + "5185adfbffb4bd703da3010310260805d89ebb11", "action-commit", "5.7"),
    # ------------------------------------------------------------ 5.8: in which order
    ("image.yml", "          locked: true\n", "", "locked", "5.8"),
    ("image.yml", "          locked: true\n", "          frozen: true\n", "locked", "5.8"),
    ("image.yml", "pixi run --locked test", "pixi run test", "locked", "5.8"),
    ("image.yml", "pixi run --locked container-build cpu", "pixi run container-build cpu", "locked", "5.8"),
    ("image.yml", "pixi run --locked test", "pixi run --locked train-torch", "tested", "5.8"),
    (
        "image.yml",
        "        run: pixi run --locked container-run cpu\n",
        "        run: echo\n",
        "tested-before-push",
        "5.8",
    ),
    ("image.yml", "    needs: test\n", "", "tested-before-push", "5.8"),
    ("image.yml", "    needs: test\n", "    needs: tests\n", "tested-before-push", "5.8"),
    (
        "image.yml",
        "    if: github.event_name == 'push' # a tag: no pull request publishes anything\n",
        "",
        "published-on-demand",
        "5.8",
    ),
    ("image.yml", "if: github.event_name == 'push'", "if: github.event_name = 'push'", "published-on-demand", "5.8"),
    ("image.yml", "github.event_name == 'push'", "github.event_name == 'pull_request'", "published-on-demand", "5.8"),
    ("image.yml", "if: github.event_name == 'push'", "if: always()", "tested-before-push", "5.8"),
    ("image.yml", "pixi run --locked test", "pixi run test --locked", "locked", "5.8"),
    (
        "image.yml",
        "pixi run --locked container-build cpu",
        "pixi run --locked environments",
        "tested-before-push",
        "5.8",
    ),
    # ------------------------------------------------------------ 5.9: what is published
    ("image.yml", "push-by-digest=true,name-canonical=true,", "", "by-digest", "5.9"),
    ("image.yml", '--tmpfs /workshop/results:mode=1777 "$IMAGE"', "--tmpfs /results debian", "pushed-image-run", "5.9"),
    ("image.yml", "uses: actions/attest@", "uses: actions/attach@", "attested", "5.9"),
    ("image.yml", "          subject-digest: ${{ steps.push.outputs.digest }}\n", "", "attested", "5.9"),
    ("image.yml", "      id-token: write", "      id-token: read", "missing-rights", "5.7"),
    ("image.yml", "      packages: write", "      packages: read", "missing-rights", "5.7"),
    ("image.yml", "apptainer build train.sif", "ls", "sif", "5.9"),
    ("image.yml", 'apptainer push train.sif "oras://$IMAGE:$GITHUB_REF_NAME-sif"', "ls", "sif", "5.9"),
    (
        "image.yml",
        'build train.sif "docker://$IMAGE@$DIGEST"',
        'build train.sif "docker://$IMAGE:latest"',
        "sif",
        "5.9",
    ),
    ("image.yml", "name-canonical=true,push=true,", "name-canonical=true,", "by-digest", "5.9"),
    ("image.yml", "type=image,name=${{ steps.source.outputs.image }},", "type=image,", "by-digest", "5.9"),
    (
        "image.yml",
        "          outputs: type",
        "          tags: ghcr.io/me/train:latest\n          outputs: type",
        "by-digest",
        "5.9",
    ),
    ("image.yml", "subject-digest: ${{ steps.push", "subject-digest: ${{ steps.build", "step-unknown", "5.9"),
    ("image.yml", "        id: push\n", "", "step-unknown", "5.9"),
    (
        "image.yml",
        'push train.sif "oras://$IMAGE:$GITHUB_REF_NAME-sif"',
        'push "oras://$IMAGE:$GITHUB_REF_NAME-sif" train.sif',
        "sif-order",
        "5.9",
    ),
]

# What people do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "a workflow that is not YAML": ("5.7", "image.yml", [("image.yml", "permissions:\n", "permissions: [\n")]),
    "a workflow without jobs": ("5.7", "no jobs", [("image.yml", "jobs:\n", "job:\n")]),
    "an image that is built and never run": (
        "5.8",
        "(image-run)",
        [("image.yml", "container-run cpu", "ls"), ("image.yml", "run: docker run --rm", "run: docker inspect")],
    ),
    "no workflow": ("5.7", "none", [lambda folder: (folder / "image.yml").unlink()]),
}
