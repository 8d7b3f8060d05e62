#!/bin/sh
# Builds llama.cpp's server (MIT, ggml-org) into the folder $2, with the Python $1, from the source inside the
# llama-cpp-python source package of the package index; then writes a tiny model beside it. 4 to 12 minutes on two cores.
# Both files are for tests only: the wire format is the real thing, the model's words are nonsense.
set -eu
python=$1
target=$2
version=0.3.36

for tool in cmake ninja c++; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "make llama-server needs $tool (apt install cmake ninja-build g++; brew install cmake ninja)" >&2
    exit 1
  fi
done
mkdir -p "$target"
target=$(cd "$target" && pwd)
# The build happens in another folder, where a relative path to Python leads nowhere.
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -x "$target/llama-server" ]; then
  echo "==> 1/3 fetching the source of llama-cpp-python $version"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    -d "$work" "llama-cpp-python==$version" >"$work/pip.log" 2>&1 || true
  archive=$(find "$work" -name 'llama_cpp_python-*.tar.gz' | head -n 1)
  if [ -z "$archive" ]; then
    cat "$work/pip.log" >&2
    exit 1
  fi
  tar -xzf "$archive" -C "$work"

  echo "==> 2/3 building llama-server (4 to 12 minutes)"
  cd "$work"/llama_cpp_python-*/vendor/llama.cpp
  cmake -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF \
    -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DCMAKE_C_FLAGS_RELEASE=-O2 >"$target/build.log" 2>&1 \
    && cmake --build build --target llama-server -j "$(getconf _NPROCESSORS_ONLN)" >>"$target/build.log" 2>&1 \
    || { tail -n 30 "$target/build.log" >&2; exit 1; }
  cp build/bin/llama-server "$target/llama-server"
  cd "$target"
fi

echo "==> 3/3 writing tiny.gguf"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'gguf>=0.17' 'tokenizers>=0.21' 'numpy>=1.26'
"$work/venv/bin/python" "$here/tiny_gguf.py" "$target/tiny.gguf"
