// Types of the console that no module exports. `Functions` comes from the OpenAPI document: `python -m scripts.console_types`.

type FunctionName = keyof Functions;

interface CallOptions {
  signal?: AbortSignal;
  method?: string;
  /** Bytes, for functions that take them. */
  body?: BodyInit;
  headers?: Record<string, string>;
  /** Not on the tape. */
  quiet?: boolean;
}

interface Call {
  <N extends FunctionName>(name: N, fields: Functions[N]['request'], options: CallOptions & { raw: true }): Promise<Response>;
  <N extends FunctionName>(name: N, fields?: Functions[N]['request'], options?: CallOptions & { raw?: false }): Promise<Functions[N]['response']>;
}

/** What the shell gives a view. */
interface ViewContext {
  /** The segments of the address behind the view's name, decoded. */
  path: string[];
  query: URLSearchParams;
  /** Aborts when the view is left. */
  signal: AbortSignal;
  /** `call` of lib/api.js, which ends with the view. */
  call: Call;
  credential: ReturnType<typeof import('./lib/credential.js').credential>;
}
