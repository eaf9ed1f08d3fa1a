// The API: requests with the login, and errors as exceptions.

const KEY = "tercet-login";

let login = sessionStorage.getItem(KEY);

export class ApiError extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

export function isLoggedIn() {
  return login !== null;
}

export function logIn(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  login = btoa(String.fromCharCode(...bytes));
}

/** Keeps the login for this tab: it has been accepted. */
export function keepLogin() {
  sessionStorage.setItem(KEY, login);
}

export function logOut() {
  login = null;
  sessionStorage.removeItem(KEY);
}

async function request(method, path, body) {
  const headers = { authorization: `Basic ${login}`, "x-tercet-page": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new ApiError(0, "the node does not answer");
  }
  const text = await response.text();
  let value = null;
  if (text !== "") {
    try { value = JSON.parse(text); } catch { value = null; }
  }
  if (!response.ok) {
    throw new ApiError(response.status, (value && (value.reason || value.error)) || response.statusText);
  }
  return value;
}

export const get = (path) => request("GET", path);
export const put = (path, body = {}) => request("PUT", path, body);
export const post = (path, body = {}) => request("POST", path, body);
export const del = (path) => request("DELETE", path);

/** Parts of a path, encoded. */
export const path = (...parts) => parts.map((part) => encodeURIComponent(part)).join("/");
