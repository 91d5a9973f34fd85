// Asking the service. Errors carry the service's own words; 401 asks for the key once and tries again.

const KEY = "vlp-key";
let unlock = null;

/** @param {() => Promise<string>} ask for the key; resolves to what was typed */
export function onLocked(ask) {
  unlock = ask;
}

async function request(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service cannot be reached. Is it still running?");
  }
  if (answer.status === 401 && unlock) {
    sessionStorage.setItem(KEY, await unlock(key !== null));
    return request(path, options);
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error || `The service answered ${answer.status}.`);
}

/** Whether a key was typed in this tab. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export async function getFile(path) {
  return (await request(path)).blob();
}

/** An address of a sample for an `img`, which carries no key itself; to be revoked once it is shown. */
export async function sampleAddress(file) {
  return URL.createObjectURL(await getFile(`/samples/${encodeURIComponent(file)}`));
}

export async function get(path) {
  return (await request(path)).json();
}

/** POST an endpoint's fields: a form if it takes a picture (`[]` for none), JSON otherwise. */
export async function ask(name, fields) {
  let options;
  if ("image" in fields) {
    const form = new FormData();
    for (const [key, value] of Object.entries(fields)) for (const one of [value].flat()) form.append(key, one);
    options = { method: "POST", body: form };
  } else {
    const body = new Blob([JSON.stringify(fields)], { type: "application/json" });
    options = { method: "POST", body };
  }
  const answer = await request(`/${name}`, options);
  return answer.headers.get("content-type").startsWith("application/json") ? answer.json() : answer.blob();
}
