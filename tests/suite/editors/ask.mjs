// Asks the language servers of editors about specs, over LSP: taplo about TOML files, yaml-language-server about YAML.
//
// Usage: node ask.mjs FOLDER < QUESTIONS. `FOLDER` has the node_modules with the servers. A question is
// `{ "path": .., "text": .. }`; `@@` in the text is the cursor. The last question for each server has a problem: a server
// publishes in order, so that all problems are known once it is marked. The answers are JSON on stdout, in the same order:
// `{ "problems": [{ "line": .., "message": .. }], "hover": .., "items": [{ "label": .., "text": .. }] }`.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const folder = path.resolve(process.argv[2]);
const patience = 60_000;

// One side of JSON-RPC; `write` sends a message to the server.
class Client {
  constructor(write, settings) {
    Object.assign(this, { write, settings, last: 0, waiting: new Map(), problems: new Map(), watch: () => {} });
  }
  receive(message) {
    if (message.method === "textDocument/publishDiagnostics") {
      this.problems.set(message.params.uri, message.params.diagnostics);
      this.watch();
    } else if (message.method && message.id !== undefined) {
      const asked = message.method === "workspace/configuration";
      const result = asked ? message.params.items.map(({ section }) => this.settings[section] ?? null) : null;
      this.write({ jsonrpc: "2.0", id: message.id, result });
    } else if (message.id !== undefined) {
      const { resolve, reject } = this.waiting.get(message.id);
      message.error ? reject(new Error(JSON.stringify(message.error))) : resolve(message.result);
    }
  }
  notify(method, params) {
    this.write({ jsonrpc: "2.0", method, params });
  }
  request(method, params) {
    const id = ++this.last;
    return within(method, (resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.write({ jsonrpc: "2.0", id, method, params });
    });
  }
  async start(root) {
    const uri = pathToFileURL(root).href;
    await this.request("initialize", {
      processId: null,
      rootUri: uri,
      workspaceFolders: [{ uri, name: "specs" }],
      capabilities: {
        workspace: { configuration: true, workspaceFolders: true },
        textDocument: { hover: { contentFormat: ["markdown"] }, completion: { completionItem: { snippetSupport: true } } },
      },
      initializationOptions: { configurationSection: "evenBetterToml" },
    });
    this.notify("initialized", {});
    this.notify("workspace/didChangeConfiguration", { settings: this.settings });
  }
  // Opens the texts, and waits until the server has marked the problem of the last.
  async open(questions) {
    for (const { path: file, text } of questions) {
      const textDocument = { uri: pathToFileURL(file).href, languageId: path.extname(file).slice(1), version: 1 };
      this.notify("textDocument/didOpen", { textDocument: { ...textDocument, text: text.replace("@@", "") } });
    }
    const { href } = pathToFileURL(questions.at(-1).path);
    await within(`the problem of ${href}`, (resolve) => {
      this.watch = () => this.problems.get(href)?.length && resolve();
      this.watch();
    });
  }
  async answer({ path: file, text }) {
    const at = text.indexOf("@@");
    const before = text.slice(0, Math.max(at, 0)).split("\n");
    const { href } = pathToFileURL(file);
    const place = { textDocument: { uri: href }, position: { line: before.length - 1, character: before.at(-1).length } };
    const hover = at < 0 ? null : await this.request("textDocument/hover", place);
    const list = at < 0 ? [] : await this.request("textDocument/completion", place);
    return {
      problems: this.problems.get(href).map(({ range, message }) => ({ line: range.start.line + 1, message })),
      hover: hover && plain(hover.contents),
      items: (list?.items ?? list ?? []).map((item) => ({ label: item.label, text: plain(item.documentation ?? "") })),
    };
  }
}

const plain = (content) => (typeof content === "string" ? content : content.value);

function within(what, start) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: no answer`)), patience);
    start((value) => (clearTimeout(timer), resolve(value)), (error) => (clearTimeout(timer), reject(error)));
  });
}

// The server in VS Code's "Even Better TOML" and other editors, compiled to WebAssembly.
async function taplo() {
  const { TaploLsp } = createRequire(path.join(folder, "_"))("@taplo/lsp");
  const settings = { evenBetterToml: { schema: { enabled: true, links: false, catalogs: [], associations: {} } } };
  let server;
  const client = new Client((message) => server.send(message), settings);
  const ignore = async (bytes) => bytes.length;
  const environment = {
    now: () => new Date(),
    envVar: () => "",
    envVars: () => [],
    stdErrAtty: () => false,
    stdin: async () => new Uint8Array(),
    stdout: ignore,
    stderr: ignore,
    glob: () => [],
    readFile: async (file) => readFileSync(file),
    writeFile: async () => {},
    // It also asks about addresses that are not of files.
    urlToFilePath: (url) => decodeURI(url).slice("file://".length),
    isAbsolute: (file) => path.isAbsolute(file),
    cwd: () => process.cwd(),
    findConfigFile: () => undefined,
    fetch: { fetch, Headers, Request, Response },
  };
  server = await TaploLsp.initialize(environment, { onMessage: (message) => client.receive(message) });
  return client;
}

async function yaml() {
  const program = path.join(folder, "node_modules", "yaml-language-server", "bin", "yaml-language-server");
  if (!existsSync(program)) throw new Error(`${program}: not found`);
  const server = spawn(process.execPath, [program, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
  const settings = { yaml: { validate: true, hover: true, completion: true, schemaStore: { enable: false } } };
  const client = new Client((message) => {
    const body = Buffer.from(JSON.stringify(message));
    server.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
    server.stdin.write(body);
  }, settings);
  let pending = Buffer.alloc(0);
  server.stdout.on("data", (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    for (let end; (end = pending.indexOf("\r\n\r\n")) >= 0; ) {
      const length = Number(/content-length: *(\d+)/i.exec(pending.toString("latin1", 0, end))[1]);
      if (pending.length < end + 4 + length) return;
      const message = pending.subarray(end + 4, end + 4 + length);
      pending = pending.subarray(end + 4 + length);
      client.receive(JSON.parse(message));
    }
  });
  return client;
}

const questions = JSON.parse(readFileSync(0, "utf8"));
const answers = new Map();
for (const [start, extension] of [[taplo, ".toml"], [yaml, ".yaml"]]) {
  const own = questions.filter((question) => question.path.endsWith(extension));
  const client = await start();
  await client.start(path.dirname(own[0].path));
  await client.open(own);
  for (const question of own) answers.set(question, await client.answer(question));
}
process.stdout.write(JSON.stringify(questions.map((question) => answers.get(question))), () => process.exit(0));
