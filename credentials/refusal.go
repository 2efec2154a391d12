package credentials

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// troubles are the error codes of token endpoints: RFC 6749, section 5.2; RFC
// 8628, section 3.5; RFC 8707, section 2; OpenID Connect Core, section 3.1.2.6;
// RFC 9449, section 5; and those of GitHub, Slack, Salesforce and Microsoft.
var troubles = map[string]Trouble{
	"temporarily_unavailable": Transient, "server_error": Transient, "slow_down": Transient,
	"authorization_pending": Transient, "ratelimited": Transient, "rate_limited": Transient, "rate_limit_exceeded": Transient, "internal_error": Transient,

	"invalid_grant": NeedsLogin, "access_denied": NeedsLogin, "expired_token": NeedsLogin,
	"login_required": NeedsLogin, "consent_required": NeedsLogin, "interaction_required": NeedsLogin, "account_selection_required": NeedsLogin,
	"bad_refresh_token": NeedsLogin, "bad_verification_code": NeedsLogin,
	"invalid_refresh_token": NeedsLogin, "token_expired": NeedsLogin, "token_revoked": NeedsLogin, "invalid_auth": NeedsLogin,
	"authorization_declined": NeedsLogin, "mfa_required": NeedsLogin, "inactive_user": NeedsLogin,

	"invalid_request": Misconfigured, "invalid_client": Misconfigured, "unauthorized_client": Misconfigured,
	"unsupported_grant_type": Misconfigured, "unsupported_response_type": Misconfigured, "invalid_scope": Misconfigured, "invalid_target": Misconfigured,
	"incorrect_client_credentials": Misconfigured, "redirect_uri_mismatch": Misconfigured, "device_flow_disabled": Misconfigured,
	"invalid_client_id": Misconfigured, "bad_client_secret": Misconfigured, "bad_client_id": Misconfigured, "invalid_client_credentials": Misconfigured,
	"invalid_issuer": Misconfigured, "invalid_assertion": Misconfigured, "invalid_app_access": Misconfigured, "invalid_redirect_uri": Misconfigured,
	"unsupported_token_type": Misconfigured, "invalid_dpop_proof": Misconfigured, "use_dpop_nonce": Misconfigured,
}

// hubspotCode is the code of a refusal by HubSpot, which has a member status for
// it, such as BAD_REFRESH_TOKEN; "" for a word that is none.
func hubspotCode(answer members) string {
	code := strings.ToLower(answer.text("status"))
	if _, ok := troubles[code]; !ok {
		return ""
	}
	return code
}

// refused classes an answer that brings no token. A code that nobody knows is not
// repeated: a server could hide in it what it was sent.
func refused(name string, got reply, code string) *TokenError {
	e := &TokenError{Name: name, Status: got.status, Code: code, RetryAfter: retryAfter(got.header.Get("Retry-After"))}
	class, known := troubles[code]
	if !known && code != "" {
		e.Code = "unknown"
	}
	switch status := got.status; {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		e.Trouble = Transient
	case known:
		e.Trouble = class
	case code != "":
		e.Trouble = Misconfigured
	case status/100 == 3:
		e.Err = errors.New("it answers with a redirect, which is not followed; check the URL")
	case status == http.StatusNotFound:
		e.Err = errors.New("there is nothing at the URL; check it")
	case status/100 == 4:
		e.Trouble = Misconfigured
		e.Err = errors.New("it refuses without saying why")
	}
	if e.Trouble != Transient {
		e.RetryAfter = 0
	}
	return e
}

// retryAfter reads RFC 9110, section 10.2.3; 0 is nothing that makes sense.
func retryAfter(v string) time.Duration {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), 3600)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), time.Hour)
	}
	return 0
}
