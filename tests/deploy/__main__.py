"""`python -m tests.deploy`: writes what is generated of `deploy/`; `make generate` calls it."""

from tests.deploy.generated import of_chart, of_kustomize

for files in (of_chart, of_kustomize):
    for path, text in files().items():
        path.write_text(text)
