// The README's tour with the types that openapi-typescript makes, and openapi-fetch.
//
//     node tour.js URL TOKEN    of a service that was started with --demo

import createClient from "openapi-fetch";
import type { components, paths } from "./client.js";

const [, , baseUrl, token] = process.argv;
const headers = { authorization: `Bearer ${token}` };
// Logs are read as JSON.
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl, headers });

const group = "239.1.2.3:10000";
const interfaces = ["lo"];

const call = { group, payload: "who is there?", interfaces, expect: 2 };
const roll = await send(call, "wait=2");
const acks = (roll.responses ?? []).map(({ payload, source }) => `"${payload}" from ${source}`).sort();
console.log(`called: ${roll.close_reason}, ${acks.join(", ")}`);

const monitor = done(
  await client.PUT("/v1/memberships/{id}", { params: { path: { id: "monitor" } }, body: { group, interfaces } }),
);
console.log(`${monitor.state}: ${monitor.id}, ${monitor.group}`);
await send({ group, payload: "very important data", interfaces, window_ms: 0 });
const page = done(
  await client.GET("/v1/memberships/{id}/datagrams", {
    params: { path: { id: "monitor" }, query: { wait_ms: 1000 } },
  }),
);
console.log(`heard: "${page.items[0]?.payload}"`);

const echo = { group: "239.1.2.4:10000", interfaces, match: { prefix: "ping" }, reply: { echo: true } };
done(await client.PUT("/v1/responders/{id}", { params: { path: { id: "echo" } }, body: echo }));
const pinged = await send({ group: echo.group, payload: "ping 1", interfaces, expect: 1 }, "wait=2");
console.log(`echoed: "${pinged.responses?.[0]?.payload}"`);

// PUT is safe to repeat: the second request finds the message, and sends nothing.
const path = { id: "roll-1" };
const header = { prefer: "wait=2" };
done(await client.PUT("/v1/messages/{id}", { params: { path, header }, body: call }));
done(await client.PUT("/v1/messages/{id}", { params: { path }, body: call }));
const responses = done(await client.GET("/v1/messages/{id}/responses", { params: { path } })).items;
console.log(`read: ${responses.length} responses to roll-1, attempt ${responses[0]?.attempt}`);

const listed = done(await client.GET("/v1/memberships")).items.map(({ id }) => id);
const answering = done(await client.GET("/v1/responders")).items.map(({ id }) => id);
console.log(`listed: memberships ${listed.join(", ")}; responders ${answering.join(", ")}`);

const foreign = { group, payload: "x", interfaces, source: "192.0.2.7" };
const refused = await client.POST("/v1/messages", { body: foreign });
console.log(`refused: ${refused.error?.status}, ${refused.error?.errors?.[0]?.pointer}`);

done(await client.DELETE("/v1/memberships/{id}", { params: { path: { id: "monitor" } } }));
done(await client.DELETE("/v1/responders/{id}", { params: { path: { id: "echo" } } }));
done(await client.DELETE("/v1/messages/{id}", { params: { path } }));
console.log("deleted: monitor, echo, roll-1");

async function send(body: components["schemas"]["MessageBody"], prefer?: string) {
  const sent = await client.POST("/v1/messages", { params: { header: { prefer } }, body });
  // Responses are there only if the request has waited.
  return done(sent) as components["schemas"]["CollectedMessage"];
}

// The answer, which is not a problem.
function done<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (error) throw new Error(JSON.stringify(error));
  return data as T;
}
