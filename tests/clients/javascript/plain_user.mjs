// A program that knows of fal only; prints what it got, as plain_user.py does.

import { fal } from "@fal-ai/client";

const ENDPOINT = "enlarger/lanczos";
const input = { image_url: process.env.PICTURE, scale: 2 };
const told = [];

const subscribed = await fal.subscribe(ENDPOINT, {
  input, logs: true, mode: "streaming", onQueueUpdate: (status) => told.push(status.status),
});
const ran = await fal.run(ENDPOINT, { input: { ...input, scale: 3 } });
const uploaded = await fal.storage.upload(await (await fetch(input.image_url)).blob());
const fetched = (await fetch(ran.data.image.url)).headers.get("content-type");
console.log(JSON.stringify({ subscribed: subscribed.data.image, ran: ran.data.image, told, uploaded, fetched }));
