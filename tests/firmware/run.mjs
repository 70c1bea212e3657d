// Runs a script under MicroPython's WebAssembly build: node run.mjs SCRIPT MODULE...
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript/micropython.mjs";

const micropython = await loadMicroPython({ heapsize: 4 * 1024 * 1024, linebuffer: true, stdout: (line) => console.log(line) });
const [script, ...modules] = process.argv.slice(2);
for (const path of modules) {
  micropython.FS.writeFile("/" + basename(path), readFileSync(path));
}
micropython.runPython("import sys\nsys.path.append('/')");
micropython.runPython(readFileSync(script, "utf8"));
