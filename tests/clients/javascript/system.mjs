// The system under test, as the environment names it, and a client that is pointed at it.

import { createFalClient } from "@fal-ai/client";

export const BASE = process.env.BASE;
export const KEY = process.env.KEY;
export const ENDPOINT = "enlarger/lanczos";
export const SLOW = 1.5; // the scale that stands for steps of diffusion
export const PICTURE = process.env.PICTURE; // a data URI

const HOSTS = { "https://queue.fal.run": "/queue", "https://fal.run": "/run", "https://rest.fal.ai": "/rest" };

/** Return our address for one of fal's. */
export function ours(url) {
  const host = Object.keys(HOSTS).find((each) => url.startsWith(each + "/"));
  return host ? BASE + HOSTS[host] + url.slice(host.length) : url;
}

/** Return a client whose calls go to the system under test. */
export function client(options = {}) {
  return createFalClient({
    credentials: KEY,
    requestMiddleware: async (request) => ({ ...request, url: ours(request.url) }),
    ...options,
  });
}

/** Return a picture as a Blob. */
export async function blob() {
  return await (await fetch(PICTURE)).blob();
}
