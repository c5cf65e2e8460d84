// What is known of conversations: title, pin, age, by the newest version that any answer told (monotonic reads).
// Answers overtake each other; what a later version said is not taken back by an earlier one.
//
//   a list ─────────┐
//   a conversation ─┼─► learn ─► is it newer? ─► "news": the list and the title are shown again
//   a change ───────┘

const known = new Map(); // id -> {id, title, version, pinned, created, updated, deleted}

/** Tells "news" when something is known better than before. */
export const news = new EventTarget();

export const headOf = (id) => known.get(id);

/** Take in `heads` as the server tells them, whatever else is in them. */
export function learn(heads) {
  let isNews = false;
  for (const { id, title, version, pinned, created, updated, deleted } of heads) {
    if (known.get(id)?.version >= version) continue;
    known.set(id, { id, title, version, pinned, created, updated, deleted });
    isNews = true;
  }
  if (isNews) news.dispatchEvent(new Event("news"));
}
