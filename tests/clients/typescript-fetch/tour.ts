// The README's tour with the client that openapi-generator makes for TypeScript.
//
//     node tour.js URL TOKEN    of a service that was started with --demo

import { Configuration, MembershipsApi, MessagesApi, RespondersApi, ResponseError } from "./client/index.js";
import type { MessageBody, Problem } from "./client/index.js";

const [, , basePath, accessToken] = process.argv;
const configuration = new Configuration({ basePath, accessToken });
const messages = new MessagesApi(configuration);
const memberships = new MembershipsApi(configuration);
const responders = new RespondersApi(configuration);

const group = "239.1.2.3:10000";
const interfaces = ["lo"];

const call: MessageBody = { group, payload: "who is there?", interfaces, expect: 2 };
const roll = await messages.sendMessage({ messageBody: call, prefer: "wait=2" });
const acks = (roll.responses ?? []).map(({ payload, source }) => `"${payload}" from ${source}`).sort();
console.log(`called: ${roll.closeReason}, ${acks.join(", ")}`);

const monitor = await memberships.putMembership({ id: "monitor", membershipBody: { group, interfaces } });
console.log(`${monitor.state}: ${monitor.id}, ${monitor.group}`);
await messages.sendMessage({ messageBody: { group, payload: "very important data", interfaces, windowMs: 0 } });
const page = await memberships.readMembershipDatagrams({ id: "monitor", waitMs: 1000 });
console.log(`heard: "${page.items[0]?.payload}"`);

const echo = { group: "239.1.2.4:10000", interfaces, match: { prefix: "ping" }, reply: { echo: true } };
await responders.putResponder({ id: "echo", responderBody: echo });
const ping = { group: echo.group, payload: "ping 1", interfaces, expect: 1 };
const pinged = await messages.sendMessage({ messageBody: ping, prefer: "wait=2" });
console.log(`echoed: "${pinged.responses?.[0]?.payload}"`);

// PUT is safe to repeat: the second request finds the message, and sends nothing.
await messages.putMessage({ id: "roll-1", messageBody: call, prefer: "wait=2" });
await messages.putMessage({ id: "roll-1", messageBody: call });
const responses = (await messages.readMessageResponses({ id: "roll-1" })).items;
console.log(`read: ${responses.length} responses to roll-1, attempt ${responses[0]?.attempt}`);

const listed = (await memberships.listMemberships()).items.map(({ id }) => id);
const answering = (await responders.listResponders()).items.map(({ id }) => id);
console.log(`listed: memberships ${listed.join(", ")}; responders ${answering.join(", ")}`);

try {
  await messages.sendMessage({ messageBody: { group, payload: "x", interfaces, source: "192.0.2.7" } });
} catch (error) {
  if (!(error instanceof ResponseError)) throw error;
  const problem = (await error.response.json()) as Problem;
  console.log(`refused: ${problem.status}, ${problem.errors?.[0]?.pointer}`);
}

await memberships.deleteMembership({ id: "monitor" });
await responders.deleteResponder({ id: "echo" });
await messages.deleteMessage({ id: "roll-1" });
console.log("deleted: monitor, echo, roll-1");
