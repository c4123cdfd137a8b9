#!/bin/sh
# Fills /opt/notification, which is all that an image has beside its base: the Dockerfiles call it, once a layer.
set -eu
builder=/opt/builder
target=/opt/notification

if [ -e /run/secrets/ca.crt ]; then
  export PIP_CERT=/run/secrets/ca.crt
fi

install() {
  # Wheels alone: nothing of a package runs before it is in the image.
  "$builder/bin/pip" --python "$target/bin/python" install --quiet --no-cache-dir --no-compile --no-deps \
    --disable-pip-version-check --root-user-action ignore "$@"
}

case "$1" in
tools)
  python3 -m venv "$builder"
  "$builder/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
    --only-binary :all: -r deploy/images/builder.txt
  python3 -m venv --without-pip "$target"
  ;;
dependencies)
  "$builder/bin/uv" export --quiet --locked --no-dev --no-emit-project --extra "$2" --output-file /tmp/requirements.txt
  install --require-hashes --only-binary :all: -r /tmp/requirements.txt
  # What wheels carry and no process reads: tests, C and Cython sources, stubs, debuggers' symbols (a third of it all).
  find "$target/lib" -type d \( -name tests -o -name test \) -path '*/site-packages/*' -prune -exec rm -r {} +
  find "$target/lib" -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' \) -delete
  find "$target/lib" -type f -name '*.so' -exec strip --strip-unneeded {} +
  "$target/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$target/lib"
  ;;
product)
  "$builder/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheels .
  install --no-index /tmp/wheels/*.whl
  if [ "$2" = dispatcher ]; then
    rm -r "$target"/lib/python3*/site-packages/notification_operator
  fi
  # Of all the commands that packages bring, the image's own.
  find "$target/bin" -type f ! -name "notification-$2" -delete
  "$target/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$target"/lib/python3*/site-packages/notification_*
  "$builder/bin/cyclonedx-py" environment --output-reproducible --of JSON --output-file "$target/sbom.cdx.json" \
    "$target/bin/python"
  ;;
esac
