// The shop's page: which of its two faces is asked for, and who is looking.

import { Flashsale } from './flashsale.js';
import { Buyer } from './shop-buyer.js';
import { $, announce } from './shop-dom.js';
import { showList } from './shop-list.js';
import { showSale } from './shop-sale.js';

const told = JSON.parse(document.querySelector('meta[name=flashsale]').content);
const config = { identity: 'trusted', payments: 'simulated', imageOrigins: [], ...told };
const saleId = /^\/sale\/([^/]+)$/.exec(location.pathname)?.[1];
let showing;
const buyer = new Buyer(config.identity, () => {
  show();
  announce(buyer.id ? `You buy as ${buyer.name ?? 'yourself'} now.` : 'Logged out.');
});

function show() {
  showing?.abort();
  showing = new AbortController();
  const around = { shop: new Flashsale('', buyer.forApi()), buyer, config, saleId };
  document.documentElement.dataset.page = saleId ? 'sale' : 'list';
  (saleId ? showSale : showList)($('main'), around, showing.signal);
  $('main').removeAttribute('aria-busy');
}

show();
