import assert from "node:assert/strict";
import { test } from "node:test";
import { client, ENDPOINT, PICTURE } from "./system.mjs";

test("subscribers of both modes at once each get their own result", async () => {
  const fal = client();
  const sizes = await Promise.all(
    Array.from({ length: 40 }, async (_, number) => {
      const scale = 1 + number / 40;
      const mode = number % 2 ? "polling" : "streaming";
      const { data } = await fal.subscribe(ENDPOINT, { input: { image_url: PICTURE, scale }, mode });
      return [data.image.width, Math.floor(16 * scale + 0.5)];
    }),
  );

  for (const [width, expected] of sizes) assert.equal(width, expected);
});
