package vendors

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
)

// Shopify is the GraphQL Admin API of one store, version 2026-10, with a token in
// X-Shopify-Access-Token: [Token], one of 24 hours for the app itself, or one of
// an hour whose refresh token is replaced each time; the refresh token before
// stays good until the new access token is used.
//
// https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits
// https://shopify.dev/docs/api/usage/response-codes
// https://shopify.dev/changelog/offline-access-tokens-now-support-expiry-and-refresh
// https://shopify.dev/changelog/more-resilient-refreshes-for-expiring-offline-access-tokens
func Shopify() *Server {
	s := newServer()
	s.endpoint("/admin/oauth/access_token", &Tokens{
		proof: "post", ttl: 3600, rotates: true, lingers: true, grants: []string{"refresh_token", "authorization_code", "client_credentials"},
		response: func(access, refresh string, ttl int, form url.Values) any {
			m := object{"access_token": access, "scope": "read_orders,read_products,read_customers", "expires_in": ttl}
			if form.Get("grant_type") == "client_credentials" {
				m["expires_in"] = 86399
			} else {
				m["refresh_token"], m["refresh_token_expires_in"] = refresh, 7776000
			}
			return m
		},
	})
	s.accepts = func(r *http.Request) bool { return s.Tokens.Good(r.Header.Get("X-Shopify-Access-Token")) }
	s.denied = Answer{Status: http.StatusUnauthorized, Body: object{"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}}
	s.unknown = Answer{Status: http.StatusNotFound, Body: object{"errors": "Not Found"}}
	cost := func(actual any, left int) object {
		return object{"cost": object{"requestedQueryCost": 101, "actualQueryCost": actual, "throttleStatus": object{"maximumAvailable": 2000.0, "currentlyAvailable": left, "restoreRate": 100.0}}}
	}
	wrong := func(code, message string) Answer {
		return Answer{Body: object{"errors": []object{{"message": message, "extensions": object{"code": code, "documentation": "https://shopify.dev/api/usage/response-codes"}}}, "extensions": cost(nil, 42)}}
	}
	text := func(status int, message string) Answer {
		return Answer{Status: status, Body: object{"errors": message}}
	}
	tooMany := text(http.StatusTooManyRequests, "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service.")
	tooMany.Header = map[string]string{"Retry-After": "2.0"}
	maps.Copy(s.failures, map[string]Answer{
		"throttled":  wrong("THROTTLED", "Throttled"),
		"too many":   tooMany,
		"too costly": wrong("MAX_COST_EXCEEDED", "Query cost is 2003, which exceeds the single query max cost limit (1000)."),
		"access":     wrong("ACCESS_DENIED", "Access denied for orders field. Required access: `read_orders` access scope."),
		"inactive":   wrong("SHOP_INACTIVE", "The shop is not active."),
		"internal":   wrong("INTERNAL_SERVER_ERROR", "Internal error. Looks like something went wrong on our end."),
		"variable":   wrong("INVALID_VARIABLE", "Variable $id of type ID! was provided invalid value"),
		"frozen":     text(http.StatusPaymentRequired, "Unavailable Shop"),
		"forbidden":  text(http.StatusForbidden, "[API] This action requires merchant approval for read_orders scope."),
		"locked":     text(http.StatusLocked, "This shop is unavailable"),
		"security":   text(430, "Shopify Security Rejection"),
		"gateway":    {Status: http.StatusBadGateway, Body: "<html></html>", Header: map[string]string{"Content-Type": "text/html"}},
	})
	fields := shopifyFields()
	s.handle("POST /admin/api/2026-10/graphql.json", "query variables operationName", func(c *call) Answer {
		data, a := ask(c, fields, func(problem string) Answer { return wrong("undefinedField", problem) })
		if a != nil {
			return *a
		}
		return Answer{Body: object{"data": data, "extensions": cost(12, 1988)}}
	})
	return s
}

func shopifyFields() map[string]resolver {
	money := func(amount string) object { return object{"amount": amount, "currencyCode": "EUR"} }
	price := object{"shopMoney": money("42.00"), "presentmentMoney": money("42.00")}
	id := func(kind string, i int) string { return fmt.Sprintf("gid://shopify/%s/%d", kind, i) }
	order := func(i int) object {
		return object{"id": id("Order", i), "name": fmt.Sprintf("#%d", 1000+i), "createdAt": "2026-11-01T10:00:00Z", "processedAt": "2026-11-01T10:00:00Z", "cancelledAt": nil, "closedAt": nil,
			"displayFinancialStatus": "PAID", "displayFulfillmentStatus": "UNFULFILLED", "tags": []string{"vip"}, "note": nil, "email": Mail, "currentTotalPriceSet": price, "subtotalPriceSet": price, "totalRefundedSet": price,
			"customer": object{"id": id("Customer", 1), "displayName": "Ada"}, "shippingAddress": object{"name": "Ada", "address1": "1 Main St", "address2": nil, "city": "London", "provinceCode": nil, "zip": "N1", "countryCodeV2": "GB"},
			"fulfillments": []object{{"status": "SUCCESS", "createdAt": "2026-11-01T10:00:00Z", "trackingInfo": []object{{"company": "Post", "number": "1", "url": nil}}}},
			"lineItems":    object{"nodes": []object{{"title": "Tea", "sku": "T1", "quantity": 2, "currentQuantity": 2, "originalUnitPriceSet": price}}}}
	}
	product := func(i int) object {
		return object{"id": id("Product", i), "title": "Tea", "handle": "tea", "status": "ACTIVE", "vendor": "Acme", "productType": "Tea", "totalInventory": 9, "tags": []string{}, "createdAt": "2026-11-01T10:00:00Z", "updatedAt": "2026-11-01T10:00:00Z",
			"description": "Black tea", "onlineStoreUrl": nil, "priceRangeV2": object{"minVariantPrice": money("4.00"), "maxVariantPrice": money("8.00")},
			"variants": object{"nodes": []object{{"id": id("ProductVariant", 1), "title": "100 g", "sku": "T1", "price": "4.00", "compareAtPrice": nil, "inventoryQuantity": 9}}}}
	}
	customer := func(i int) object {
		return object{"id": id("Customer", i), "displayName": "Ada", "defaultEmailAddress": object{"emailAddress": Mail}, "defaultPhoneNumber": nil, "numberOfOrders": "18446744073709551615", "amountSpent": money("42.00"),
			"state": "ENABLED", "tags": []string{}, "note": nil, "createdAt": "2026-11-01T10:00:00Z", "updatedAt": "2026-11-01T10:00:00Z",
			"defaultAddress": object{"city": "London", "provinceCode": nil, "countryCodeV2": "GB"}, "orders": object{"nodes": many(2, order)}}
	}
	draft := func(i int) object {
		return object{"id": id("DraftOrder", i), "name": "#D1", "status": "OPEN", "createdAt": "2026-11-01T10:00:00Z", "updatedAt": "2026-11-01T10:00:00Z", "completedAt": nil, "invoiceUrl": "https://acme.myshopify.com/1",
			"totalPriceSet": price, "customer": nil}
	}
	location := func(i int) object {
		return object{"id": id("Location", i), "name": "Shop", "isActive": true, "fulfillsOnlineOrders": true, "address": object{"city": "London", "countryCode": "GB"}}
	}
	list := func(args string, make func(int) object) resolver {
		records := many(7, make)
		return resolver{"query", args + " first after", func(v object) any { return relay(records, v) }}
	}
	one := func(make func(int) object) resolver {
		records := many(7, make)
		return resolver{"query", "id", func(v object) any { return named(records, v["id"]) }}
	}
	written := func(args, member string, v object) resolver {
		return resolver{"mutation", args, func(vars object) any {
			problems := []object{}
			if in, _ := vars["input"].(object); in["note"] == "refuse" {
				problems = []object{{"field": []string{"note"}, "message": "Note is not allowed"}}
			}
			return object{member: v, "userErrors": problems}
		}}
	}
	const listed = "query sortKey reverse"
	return map[string]resolver{
		"orders": list(listed, order), "products": list(listed, product), "customers": list(listed, customer), "draftOrders": list(listed, draft), "locations": list("", location),
		"order": one(order), "product": one(product), "customer": one(customer),
		"shop": {"query", "", func(object) any {
			return object{"id": id("Shop", 1), "name": "Acme", "email": Mail, "myshopifyDomain": "acme.myshopify.com", "primaryDomain": object{"url": "https://acme.example.com"}, "currencyCode": "EUR", "ianaTimezone": "Europe/London",
				"plan": object{"shopifyPlus": false, "partnerDevelopment": false}}
		}},
		"orderUpdate": written("input", "order", order(1)), "productUpdate": written("product", "product", product(1)), "draftOrderCreate": written("input", "draftOrder", draft(8)),
	}
}
