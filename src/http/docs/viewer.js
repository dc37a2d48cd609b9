// Shows the API in the order in which a newcomer can execute it: join, send, read, and only then delete.

const SECTIONS = [
  ["memberships", "Join groups"],
  ["responders", "Join groups and reply to datagrams"],
  ["messages", "Send to groups and collect the responses"],
  ["logs", "Read what was received"],
  ["overview", "Groups, interfaces and events"],
  ["service", "The service itself"],
  ["deletion", "Cancel, leave and delete"],
];
const METHODS = ["put", "post", "get", "patch", "delete"];

function section(path, method, tag) {
  if (method === "delete" || path.endsWith("/cancel")) return "deletion";
  if (/\/(datagrams|responses|payload)$/.test(path)) return "logs";
  return tag;
}

function inOrder(one, other) {
  const rank = (operation) => METHODS.indexOf(operation.get("method"));
  return rank(one) - rank(other) || one.get("path").length - other.get("path").length;
}

async function show() {
  const spec = await (await fetch("/openapi.json")).json();
  spec.tags = SECTIONS.map(([name, description]) => ({ name, description }));
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((method) => method in item)) {
      item[method].tags = [section(path, method, item[method].tags[0])];
    }
  }
  SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    tryItOutEnabled: true,
    operationsSorter: inOrder,
    validatorUrl: null,
  });
}

show();
