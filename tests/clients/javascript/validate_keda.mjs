// Reads KEDA's objects as JSON, and fails with what the published schemas say against them.
import { readFileSync } from "node:fs";

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const models = await import(`@kubernetes-models/keda/${object.apiVersion}/${object.kind}`);
  new models[object.kind](object).validate();
}
