// The calls of record.py's `call_openai`, made with the Vercel AI SDK. Prints {version, spans}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embed, generateText, streamText } from 'ai';

const exporter = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();

const provider = createOpenAICompatible({ name: 'openai', baseURL: process.argv[2], apiKey: 'none', includeUsage: true });
const metadata = { sessionId: 'session-1' };
const experimental_telemetry = { isEnabled: true, functionId: 'draft_reply', metadata };
const request = { prompt: 'canary', experimental_telemetry, maxRetries: 0 };

await generateText({ model: provider('gpt-4o-mini'), ...request });
for await (const _ of streamText({ model: provider('gpt-4o-mini'), ...request }).textStream);
await generateText({ model: provider('broken'), ...request }).catch(() => {});
const model = provider.textEmbeddingModel('text-embedding-3-small');
await embed({ model, value: 'canary', experimental_telemetry });

const nanoseconds = ([seconds, rest]) => BigInt(seconds) * 1_000_000_000n + BigInt(rest);
const recorded = (span) => ({
  name: span.name,
  kind: span.kind + 1,
  scope: { name: span.instrumentationScope.name, version: span.instrumentationScope.version ?? '' },
  resource: { 'service.name': span.resource.attributes['service.name'] },
  root: !span.parentSpanContext,
  start_ns: nanoseconds(span.startTime),
  end_ns: nanoseconds(span.endTime),
  status: span.status.code,
  attributes: span.attributes,
  events: span.events.map(({ name, time }) => ({
    name,
    seconds: Number(nanoseconds(time) - nanoseconds(span.startTime)) * 1e-9,
  })),
});
const { version } = JSON.parse(readFileSync(createRequire(import.meta.url).resolve('ai/package.json')));
const spans = exporter.getFinishedSpans().map(recorded);
// JSON has no BigInt: print it as the number that it is.
const text = JSON.stringify({ version, spans }, (_, value) => (typeof value === 'bigint' ? `@${value}@` : value));
console.log(text.replaceAll(/"@(\d+)@"/g, '$1'));
