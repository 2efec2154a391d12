package vendors

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// Stripe is the API with a secret or restricted key ([Token]), as bearer token
// or as the user name of Basic.
//
// https://docs.stripe.com/api/errors
// https://docs.stripe.com/api/pagination
// https://docs.stripe.com/api/idempotent_requests
// https://docs.stripe.com/rate-limits
// https://docs.stripe.com/error-low-level
func Stripe() *Server {
	s := newServer()
	bearer := s.accepts
	s.accepts = func(r *http.Request) bool {
		key, _, basic := r.BasicAuth()
		return bearer(r) || basic && key == Token
	}
	wrong := func(status int, kind, code, message string) Answer {
		e := object{"type": kind, "message": message, "doc_url": "https://stripe.com/docs/error-codes", "request_log_url": "https://dashboard.stripe.com/logs/req_1"}
		if code != "" {
			e["code"] = code
		}
		return Answer{Status: status, Header: map[string]string{"Request-Id": "req_1"}, Body: object{"error": e}}
	}
	s.denied = wrong(http.StatusUnauthorized, "invalid_request_error", "", "Invalid API Key provided: ****")
	s.unknown = wrong(http.StatusNotFound, "invalid_request_error", "", "Unrecognized request URL. Please see https://stripe.com/docs.")
	retried := func(a Answer, retry string, more ...string) Answer {
		a.Header = map[string]string{"Request-Id": "req_1", "Stripe-Should-Retry": retry}
		for i := 0; i+1 < len(more); i += 2 {
			a.Header[more[i]] = more[i+1]
		}
		return a
	}
	tooMany := wrong(http.StatusTooManyRequests, "invalid_request_error", "rate_limit", "Request rate limit exceeded.")
	maps.Copy(s.failures, map[string]Answer{
		"global rate":       retried(tooMany, "true", "Stripe-Rate-Limited-Reason", "global-rate"),
		"endpoint rate":     retried(tooMany, "true", "Stripe-Rate-Limited-Reason", "endpoint-rate"),
		"concurrency":       retried(tooMany, "true", "Stripe-Rate-Limited-Reason", "endpoint-concurrency"),
		"resource specific": retried(tooMany, "false", "Stripe-Rate-Limited-Reason", "resource-specific", "Retry-After", "9"),
		"lock timeout":      retried(wrong(http.StatusTooManyRequests, "invalid_request_error", "lock_timeout", "This object cannot be accessed right now because another API request or Stripe process is currently accessing it."), "true"),
		"key in use":        retried(wrong(http.StatusConflict, "idempotency_error", "idempotency_key_in_use", "There is currently another in-progress request using this Idempotent Key."), "true"),
		"other parameters":  retried(wrong(http.StatusBadRequest, "idempotency_error", "", "Keys for idempotent requests can only be used with the same parameters they were first used with."), "false"),
		"missing":           wrong(http.StatusNotFound, "invalid_request_error", "resource_missing", "No such customer: 'cus_0'"),
		"missing parameter": wrong(http.StatusBadRequest, "invalid_request_error", "parameter_missing", "Missing required param: query."),
		"missing reference": wrong(http.StatusBadRequest, "invalid_request_error", "resource_missing", "No such customer: 'cus_0'"),
		"declined":          wrong(http.StatusPaymentRequired, "card_error", "card_declined", "Your card was declined."),
		"permissions":       wrong(http.StatusForbidden, "invalid_request_error", "more_permissions_required", "The provided key does not have the required permissions for this endpoint."),
		"third party":       wrong(http.StatusFailedDependency, "api_error", "", "An external dependency failed."),
		"server":            retried(wrong(http.StatusInternalServerError, "api_error", "", "An unknown error occurred"), "true"),
		"unavailable":       retried(wrong(http.StatusServiceUnavailable, "api_error", "", "We're temporarily unavailable"), "true"),
	})
	stripeReads(s)
	stripeWrites(s)
	return s
}

func stripeThing(kind string) func(int) object {
	prefix := map[string]string{"customers": "cus", "subscriptions": "sub", "invoices": "in", "payment_intents": "pi", "refunds": "re"}[kind]
	more := map[string]object{
		"customers": {"name": "Ada", "email": Mail, "phone": nil, "balance": 0, "delinquent": false, "address": nil, "default_source": nil, "invoice_settings": object{"default_payment_method": nil, "footer": nil}},
		"subscriptions": {"customer": "cus_1", "status": "active", "start_date": 1761990000, "cancel_at": nil, "cancel_at_period_end": false, "canceled_at": nil, "trial_end": nil, "latest_invoice": "in_1",
			"default_payment_method": nil, "collection_method": "charge_automatically",
			"items": object{"object": "list", "has_more": false, "data": []object{{"id": "si_1", "quantity": 2, "current_period_end": 1764582000, "price": object{"id": "price_1", "unit_amount": 4200, "recurring": object{"interval": "month"}}}}}},
		"invoices": {"customer": "cus_1", "customer_email": Mail, "number": "A-1", "status": "open", "subtotal": 4200, "total": 4200, "amount_due": 4200, "amount_paid": 0, "amount_remaining": 4200, "due_date": nil, "attempt_count": 1,
			"next_payment_attempt": nil, "billing_reason": "subscription_cycle", "lines": object{"object": "list", "data": []object{{"id": "il_1", "description": "Plan", "amount": 4200, "quantity": 1}}}},
		"payment_intents": {"customer": "cus_1", "status": "requires_payment_method", "amount": 4200, "amount_received": 0, "latest_charge": "ch_1", "last_payment_error": object{"code": "card_declined", "message": "Your card was declined."}, "client_secret": "never"},
		"refunds":         {"payment_intent": "pi_1", "charge": "ch_1", "status": "succeeded", "amount": 4200, "reason": nil},
	}[kind]
	return func(i int) object {
		one := object{"id": fmt.Sprintf("%s_%d", prefix, i), "object": strings.TrimSuffix(kind, "s"), "created": 1761990000 + i, "currency": "usd", "livemode": false, "metadata": object{"plan": "pro"}, "description": nil}
		maps.Copy(one, more)
		return one
	}
}

func stripeReads(s *Server) {
	for kind, params := range map[string]string{
		"customers": "email created", "subscriptions": "customer price status", "invoices": "customer subscription status created",
		"payment_intents": "customer created", "refunds": "payment_intent charge",
	} {
		records := many(7, stripeThing(kind))
		s.handle("GET /v1/"+kind, params+" limit starting_after ending_before", func(c *call) Answer {
			start := 0
			if after := c.query.Get("starting_after"); after != "" {
				if start = place(records, after); start == 0 {
					return s.failures["missing reference"]
				}
			}
			some := page(records, start, min(number(c.query.Get("limit"), 10), 100))
			return Answer{Body: object{"object": "list", "url": "/v1/" + kind, "has_more": start+len(some) < len(records), "data": some}}
		})
		s.handle("GET /v1/"+kind+"/{id}", "", func(c *call) Answer {
			if i := place(records, c.PathValue("id")); i > 0 {
				return Answer{Body: records[i-1]}
			}
			return s.failures["missing"]
		})
	}
	customers := many(7, stripeThing("customers"))
	s.handle("GET /v1/customers/search", "query limit page", func(c *call) Answer {
		if c.query.Get("query") == "" {
			return s.failures["missing parameter"]
		}
		start := number(strings.TrimPrefix(c.query.Get("page"), "page-"), 0)
		some := page(customers, start, min(number(c.query.Get("limit"), 10), 100))
		body := object{"object": "search_result", "url": "/v1/customers/search", "has_more": start+len(some) < len(customers), "data": some, "next_page": nil}
		if body["has_more"] == true {
			body["next_page"] = fmt.Sprintf("page-%d", start+len(some))
		}
		return Answer{Body: body}
	})
	s.handle("GET /v1/balance", "", func(*call) Answer {
		return Answer{Body: object{"object": "balance", "available": []object{{"amount": 100, "currency": "usd", "source_types": object{"card": 100}}}, "pending": []object{{"amount": 7, "currency": "usd"}}, "livemode": false}}
	})
}

// place is the number of a record, counted from 1; 0 if there is none.
func place(records []object, id string) int {
	for i, r := range records {
		if r["id"] == id {
			return i + 1
		}
	}
	return 0
}

func stripeWrites(s *Server) {
	keyed := func(c *call, f func() Answer) Answer {
		if ct := c.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/x-www-form-urlencoded") {
			s.complain("a body of type %q", ct)
		}
		return s.once(c.Header.Get("Idempotency-Key"), f)
	}
	made := func(c *call, kind string) Answer {
		thing := stripeThing(kind)(8)
		for name := range c.query {
			if !strings.Contains(name, "[") {
				thing[name] = c.query.Get(name)
			}
		}
		return Answer{Body: thing}
	}
	s.handle("POST /v1/customers", "name email phone description address metadata", func(c *call) Answer {
		return keyed(c, func() Answer { return made(c, "customers") })
	})
	s.handle("POST /v1/customers/{id}", "name email phone description metadata", func(c *call) Answer {
		return keyed(c, func() Answer { return made(c, "customers") })
	})
	s.handle("POST /v1/refunds", "payment_intent amount reason metadata", func(c *call) Answer {
		if c.query.Get("payment_intent") == "" {
			return s.failures["missing parameter"]
		}
		return keyed(c, func() Answer { return made(c, "refunds") })
	})
}
