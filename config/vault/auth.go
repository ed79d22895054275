package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// session is the token in use, and how to get one. The resolver's turn guards it.
type session struct {
	opt    *Options
	server *server

	token     string
	ttl       time.Duration // 0: does not end
	at        time.Time     // when ttl was told
	renewable bool
	renewals  int // since the last that worked
	known     bool
}

// left is how long the token lives still; 0 for one that does not end.
func (s *session) left(now time.Time) time.Duration {
	if s.ttl == 0 {
		return 0
	}
	return max(time.Nanosecond, s.at.Add(s.ttl).Sub(now))
}

// valid returns a token that may be used: it logs in, or renews, when it is time.
func (s *session) valid(ctx context.Context) (string, error) {
	if s.opt.TokenFile != "" {
		data, err := os.ReadFile(s.opt.TokenFile)
		if err != nil {
			return "", fmt.Errorf("vault: read token: %w", err)
		}
		token := strings.TrimSpace(string(data))
		if token == "" || strings.ContainsAny(token, "\r\n\t ") {
			return "", fmt.Errorf("vault: read token: %s does not hold one token", s.opt.TokenFile)
		}
		return token, nil
	}

	now := time.Now()
	if s.token == "" && !s.opt.Token.IsZero() {
		s.token = s.opt.Token.Reveal()
	}
	if s.token == "" {
		err := s.login(ctx)
		return s.token, err
	}

	if !s.known { // a token that was given: ask for its life once
		s.lookup(ctx)
	}

	due := s.ttl > 0 && now.Sub(s.at) >= s.ttl*2/3
	if due && s.renewable && s.renewals < maxRenewals && s.left(now) > time.Nanosecond {
		s.renewals++
		out, err := s.server.call(ctx, "renew token", http.MethodPost, "auth/token/renew-self", "", s.token, struct{}{})
		if err == nil && out.Auth != nil && out.Auth.LeaseDuration > 0 {
			s.ttl, s.at, s.renewable, s.renewals = seconds(out.Auth.LeaseDuration), now, out.Auth.Renewable, 0
			return s.token, nil
		}
		s.opt.Logger.Warn("token not renewed", "error", err)
	}

	if due && s.canLogin() {
		if err := s.login(ctx); err != nil {
			if s.left(now) > time.Nanosecond {
				return s.token, nil // it lives still
			}
			return "", err
		}
	}

	return s.token, nil
}

func (s *session) canLogin() bool {
	return s.opt.AppRole.RoleID != "" || s.opt.Kubernetes.Role != ""
}

// lookup asks for the life of a token that was given. Policies may forbid it;
// then the token is used for as long as it works.
func (s *session) lookup(ctx context.Context) {
	out, err := s.server.call(ctx, "look up token", http.MethodGet, "auth/token/lookup-self", "", s.token, nil)
	var failed *Error
	if errors.As(err, &failed) && failed.Temporary() {
		return // not known yet
	}
	s.known = true
	if err != nil {
		return
	}

	var data struct {
		TTL       int64 `json:"ttl"`
		Renewable bool  `json:"renewable"`
	}
	if json.Unmarshal(out.Data, &data) == nil {
		s.ttl, s.at, s.renewable = seconds(data.TTL), time.Now(), data.Renewable
	}
}

// login gets a new token by AppRole or Kubernetes.
func (s *session) login(ctx context.Context) error {
	var path string
	var body map[string]string

	if o := s.opt.AppRole; o.RoleID != "" {
		path, body = "auth/"+o.Mount+"/login", map[string]string{"role_id": o.RoleID}
		if !o.SecretID.IsZero() {
			body["secret_id"] = o.SecretID.Reveal()
		}
	} else {
		o := s.opt.Kubernetes
		jwt, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return fmt.Errorf("vault: read service account token: %w", err)
		}
		path, body = "auth/"+o.Mount+"/login", map[string]string{"role": o.Role, "jwt": strings.TrimSpace(string(jwt))}
	}

	now := time.Now()
	out, err := s.server.call(ctx, "login", http.MethodPost, path, "", "", body)
	if err != nil {
		return err
	}
	if out.Auth == nil || out.Auth.ClientToken == "" {
		return &Error{Op: "login", Path: path, Err: errors.New("the answer holds no token")}
	}

	*s = session{
		opt: s.opt, server: s.server,
		token: out.Auth.ClientToken, ttl: seconds(out.Auth.LeaseDuration), at: now,
		renewable: out.Auth.Renewable, known: true,
	}
	s.opt.Logger.Debug("logged in", "path", path, "ttl", s.ttl)
	return nil
}

// maxRenewals bounds the renewals of one lease that may fail.
const maxRenewals = 2

func seconds(n int64) time.Duration {
	if n <= 0 {
		return 0
	}
	return time.Duration(min(n, int64(1<<63-1)/int64(time.Second))) * time.Second
}
