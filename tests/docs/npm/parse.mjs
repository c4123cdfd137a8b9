// Parses each diagram of a JSON list on standard input; prints a JSON list of what is wrong with each, or null.
import { JSDOM } from "jsdom";

// Labels are sanitised while they are parsed, and that needs a document.
const { window } = new JSDOM("");
globalThis.window = window;
globalThis.document = window.document;

const { default: mermaid } = await import("mermaid");

let input = "";
for await (const chunk of process.stdin) input += chunk;

const found = [];
for (const diagram of JSON.parse(input)) {
  try {
    await mermaid.parse(diagram);
    found.push(null);
  } catch (error) {
    found.push(String(error.message));
  }
}
console.log(JSON.stringify(found));
