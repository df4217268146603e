"""What importing a model costs beside reading it: seconds and peak memory.

    python3 benches/import_model.py [--tenon PATH] [--plugins FOLDER] [--size GB] [--repeat N]

Writes a GPT-2 of the given size as one safetensors file (and, with --shards, as several), reads it once,
copies it once with fsync, and imports it without a server (as a copy, and with --link) and through one. The
page cache is asked to forget the file before each of these, so that all of them read from the disk. Needs no
package.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

WIDTH = 1024
TOKENS = 64
CHUNK = 1 << 20


def tensors(layers):
    yield "wte.weight", [TOKENS, WIDTH]
    yield "wpe.weight", [64, WIDTH]
    for layer in range(layers):
        for name, shape in [
            ("ln_1", [WIDTH]),
            ("attn.c_attn", [WIDTH, 3 * WIDTH]),
            ("attn.c_proj", [WIDTH, WIDTH]),
            ("ln_2", [WIDTH]),
            ("mlp.c_fc", [WIDTH, 4 * WIDTH]),
            ("mlp.c_proj", [4 * WIDTH, WIDTH]),
        ]:
            yield f"h.{layer}.{name}.weight", shape
            yield f"h.{layer}.{name}.bias", shape[-1:]
    yield "ln_f.weight", [WIDTH]
    yield "ln_f.bias", [WIDTH]


def count(shape):
    product = 1
    for dim in shape:
        product *= dim
    return product


def write(path, entries):
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in entries:
        end = start + 4 * count(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # Small numbers that no file system stores more cheaply than others.
    noise = os.urandom(CHUNK)
    noise = b"".join(struct.pack("<f", byte / 4096) for byte in noise[: CHUNK // 4])
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        left = start
        while left:
            left -= file.write(noise[: min(left, CHUNK)])
        file.flush()
        os.fsync(file.fileno())


def make(folder, gigabytes, shards):
    layers = max(1, round(gigabytes * 1e9 / 4 / (12 * WIDTH * WIDTH)))
    entries = list(tensors(layers))
    folder.mkdir()
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": TOKENS,
        "n_embd": WIDTH,
        "n_layer": layers,
        "n_head": 16,
        "n_positions": 64,
    }
    (folder / "config.json").write_text(json.dumps(config))
    letters = ["<|endoftext|>"] + [chr(ord("a") + i) for i in range(26)]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    if shards == 1:
        write(folder / "model.safetensors", entries)
        return
    size = -(-len(entries) // shards)
    places = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = entries[shard * size : (shard + 1) * size]
        write(folder / name, part)
        places.update({entry[0]: name for entry in part})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def weights(folder):
    return sorted(folder.glob("*.safetensors"))


def forget(folder):
    for path in weights(folder):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read(folder, sink=None):
    buffer = bytearray(CHUNK)
    for path in weights(folder):
        with open(path, "rb", buffering=0) as file:
            while length := file.readinto(buffer):
                if sink:
                    sink.write(memoryview(buffer)[:length])


def copy(folder, target):
    with open(target, "wb", buffering=0) as sink:
        read(folder, sink)
        os.fsync(sink.fileno())
    os.remove(target)


def seconds(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def tenon(args, environment):
    """Runs a command to its end; its peak memory in bytes."""
    child = subprocess.Popen(args, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{args} ended with {child.returncode}")
    return usage.ru_maxrss * 1024


def peak_of(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "target")
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenon", default=target / "release/tenon")
    parser.add_argument("--plugins", type=Path, default=cache / "plugins")
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room for three times the size")
    args = parser.parse_args()
    room = Path(tempfile.mkdtemp(prefix="tenon-import-", dir=args.folder))
    environment = {**os.environ, "TENON_DATA": str(room / "data")}
    for name in ["TENON_SERVER", "TENON_TOKEN"]:
        environment.pop(name, None)
    try:
        model = room / "model"
        make(model, args.size, args.shards)
        size = sum(path.stat().st_size for path in weights(model))
        print(f"{size / 1e9:.2f} GB in {args.shards} file(s)")
        tenon([args.tenon, "plugin", "install", args.plugins / "recipe-gpt.wasm"], environment)
        times = {"read": [], "copy + fsync": [], "import": [], "import --link": [], "import, server": []}
        peaks = {"import": 0, "import --link": 0, "import, server": 0}
        command = [args.tenon, "model", "import", model, "--name", "it"]

        def clear():
            for path in (room / "data/blobs").rglob("*"):
                if path.is_file() and path.stat().st_size > size / 2:
                    path.unlink()
            os.sync()
            forget(model)

        for _ in range(args.repeat):
            clear()
            times["read"].append(seconds(lambda: read(model)))
            clear()
            times["copy + fsync"].append(seconds(lambda: copy(model, room / "copy")))
            for name, more in [("import", []), ("import --link", ["--link"])]:
                clear()
                peak = []
                times[name].append(seconds(lambda: peak.append(tenon([*command, *more], environment))))
                peaks[name] = max(peaks[name], peak[0])
            clear()
            server = subprocess.Popen(
                [args.tenon, "up", "--address", "127.0.0.1:0", "--json", "--device", "cpu"],
                env=environment, stdout=subprocess.PIPE, text=True,
            )
            try:
                url = json.loads(server.stdout.readline())["url"]
                through = [*command, "--server", url]
                times["import, server"].append(seconds(lambda: tenon(through, environment)))
                peaks["import, server"] = max(peaks["import, server"], peak_of(server.pid))
            finally:
                server.terminate()
                server.wait()
        base = min(times["read"])
        print(f"{'':16} {'best s':>8} {'× read':>8} {'peak × size':>12}   all")
        for name, found in times.items():
            peak = f"{peaks[name] / size:.2f}" if name in peaks else ""
            all_of = " ".join(f"{value:.2f}" for value in found)
            print(f"{name:16} {min(found):8.2f} {min(found) / base:8.2f} {peak:>12}   {all_of}")
    finally:
        shutil.rmtree(room)


if __name__ == "__main__":
    main()
