package slack

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/notify"
)

// defaultPause is the wait after a 429 that names none.
const defaultPause = 30 * time.Second

// transportError makes a typed error of what the HTTP client gave. Its text
// has no address in it: the path of a webhook is a secret.
func transportError(ctx context.Context, op string, err error) *notify.Error {
	if ctx.Err() != nil {
		e := notify.NewError(op, context.Cause(ctx))
		e.Reason = "no answer from Slack in time: " + e.Reason
		return e
	}
	return notify.NewError(op, err)
}

// statusError makes an error of an HTTP status that is not 200, or nil.
func statusError(op string, resp *http.Response, body string, now time.Time) *notify.Error {
	code := resp.StatusCode
	if code == http.StatusOK {
		return nil
	}
	e := &notify.Error{Op: op, Code: code, Enhanced: errorCode(body), Reason: reason(body)}
	switch {
	case code == http.StatusTooManyRequests:
		e.Class = notify.ClassThrottled
		var ok bool
		if e.RetryAfter, ok = backoff.RetryAfter(resp.Header.Get("Retry-After"), now); !ok {
			e.RetryAfter = defaultPause
		}
	case code >= 300 && code < 400:
		e.Class = notify.ClassInvalid
		e.Reason = "Slack's address answers with a redirect, which is not followed: check the address"
	case code >= 500:
		e.Class = notify.ClassServer
		if after, ok := backoff.RetryAfter(resp.Header.Get("Retry-After"), now); ok {
			e.RetryAfter = after
		}
	case code == http.StatusUnauthorized:
		e.Class = notify.ClassAuth
	default:
		e.Class = classOf(e.Enhanced, notify.ClassRejected)
	}
	return e
}

// classOf says what one of Slack's error codes means.
func classOf(code string, other notify.Class) notify.Class {
	switch code {
	case "ratelimited", "rate_limited", "message_limit_exceeded":
		return notify.ClassThrottled
	case "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "rollup_error", "accesslimited":
		return notify.ClassServer
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
		"missing_scope", "not_allowed_token_type", "invalid_token", "org_login_required", "ekm_access_denied":
		return notify.ClassAuth
	default:
		return other
	}
}

// errorCode returns body if it looks like one of Slack's error codes.
func errorCode(body string) string {
	body = strings.TrimSpace(body)
	if body == "" || len(body) > 64 {
		return ""
	}
	for _, c := range []byte(body) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return ""
		}
	}
	return body
}

func reason(body string) string {
	body = strings.TrimSpace(body)
	if body == "" {
		return "answer without a text"
	}
	if strings.HasPrefix(body, "<") {
		return "answer is a web page, not Slack's"
	}
	return notify.NewError("", fmt.Errorf("%s", body)).Reason
}
