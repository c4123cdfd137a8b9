"""`python -m tests.images`: build the product's images into a folder; `make images` calls it."""

import json
import sys
from pathlib import Path

import click

from tests.cluster.binaries import Places
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress
from tests.images import choose, product_images

ROOT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "build" / "images",
    show_default="build/images",
    help="Folder for the archives and their SBOMs.",
)
def main(folder: Path) -> None:
    """Build the images of operator and dispatcher, each as an archive with its SBOM (CycloneDX) beside it.

    With Docker where its engine answers. Elsewhere with buildah, on a base image made by debootstrap: that takes root
    on Debian, and `apt-get install buildah debootstrap`.

    \b
      docker load -i build/images/notification-operator.tar
      ctr -n k8s.io images import build/images/notification-dispatcher.tar
    """
    progress = Progress()
    try:
        images = product_images(folder, choose(Places.from_environment(), progress))
    except ClusterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    for image in images:
        sbom = json.loads(image.path.with_suffix(".cdx.json").read_text())
        size = image.path.stat().st_size / 1e6
        click.echo(f"{image.name}  {size:.0f} MB  {len(sbom['components'])} packages  {image.path}")


if __name__ == "__main__":
    main()
