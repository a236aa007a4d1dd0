/**
 * Orders for artillery, and a record of what became of each at the API.
 *
 * The n-th order depends on the seed and n alone, so two runs with one seed send the same orders.
 * Environment: LOADTEST_SEED, and LOADTEST_RECORDS, a file that gets one JSON line for each order:
 * {order_id, sent_at, answered_at, status, correlation_id}; times are epoch seconds, status is null
 * when no answer came.
 */
const { createWriteStream } = require('node:fs');
const falso = require('@ngneat/falso');

const SEED = process.env.LOADTEST_SEED ?? '1';
const records = createWriteStream(process.env.LOADTEST_RECORDS ?? 'orders.ndjson', { flags: 'a' });
let placed = 0;

/** The n-th order of a seed. `total` is the sum of its items, to the cent. */
function order(seed, n) {
  falso.seed(`${seed}-${n}`);
  const items = Array.from({ length: falso.randNumber({ min: 1, max: 4 }) }, () => ({
    sku: `SKU-${falso.randNumber({ min: 10000, max: 99999 })}`,
    name: falso.randProductName(),
    quantity: falso.randNumber({ min: 1, max: 3 }),
    unit_price: falso.randNumber({ min: 199, max: 14999 }) / 100,
  }));
  const cents = items.reduce((sum, item) => sum + item.quantity * Math.round(item.unit_price * 100), 0);
  const [firstName, lastName] = [falso.randFirstName(), falso.randLastName()];
  return {
    order_id: `ord-${seed}-${String(n).padStart(6, '0')}`,
    currency: 'EUR',
    total: cents / 100,
    customer: {
      name: `${firstName} ${lastName}`,
      email: falso.randEmail({ firstName, lastName, provider: 'example', suffix: 'com' }),
      phone: falso.randPhoneNumber({ countryCode: 'IE' }),
    },
    delivery_address: {
      line1: falso.randStreetAddress(),
      postal_code: falso.randZipCode(),
      city: falso.randCity(),
      country: falso.rand(['AT', 'BE', 'DE', 'FR', 'IE', 'IT', 'NL', 'SE']),
    },
    items,
  };
}

function placeOrder(request, context, _events, next) {
  placed += 1;
  const body = { ...order(SEED, placed), placed_at: new Date().toISOString() };
  request.body = JSON.stringify(body);
  context.vars.record = { order_id: body.order_id, sent_at: Date.now() / 1000 };
  next();
}

function recordAnswer(_request, response, context, _events, next) {
  write(context, response.statusCode, correlationId(response.body));
  next();
}

function recordFailure(_error, _request, context, _events, next) {
  write(context, null, null);
  next();
}

/** Artillery may report one failure twice; the first report of an order is kept. */
function write(context, status, correlation_id) {
  const record = context.vars.record;
  if (!record) return;
  context.vars.record = undefined;
  records.write(`${JSON.stringify({ ...record, answered_at: Date.now() / 1000, status, correlation_id })}\n`);
}

function correlationId(body) {
  try {
    return JSON.parse(body).correlation_id ?? null;
  } catch {
    return null;
  }
}

module.exports = { order, placeOrder, recordAnswer, recordFailure };
