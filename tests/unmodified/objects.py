"""Objects, mappings, locks and children by Python's own modules; prints what must be the same every time."""
import mmap
import multiprocessing
import subprocess
from multiprocessing import shared_memory

text = "".join(chr(97 + number % 26) * (number % 7) for number in range(20000))
block = shared_memory.SharedMemory(create=True, size=100000)
block.buf[: len(text)] = text.encode()


def look(name, lock, results):
    with lock:
        other = shared_memory.SharedMemory(name=name)
        results.put(sum(bytes(other.buf[:50000])))
        other.close()


context = multiprocessing.get_context("fork")
lock, results = context.Lock(), context.Queue()
children = [context.Process(target=look, args=(block.name, lock, results)) for _ in range(4)]
for child in children:
    child.start()
sums = [results.get() for _ in children]
for child in children:
    child.join()
print(sums, [child.exitcode for child in children])
block.close()
block.unlink()
memory = mmap.mmap(-1, 1 << 20)
memory.write(b"x" * 1000)
print(memory.find(b"xx"), len(memory))
memory.resize(1 << 21)
print(len(memory))
memory.close()
print(subprocess.run(["sh", "-c", "echo child; exit 4"], capture_output=True, env={"PATH": "/usr/bin:/bin"}))
