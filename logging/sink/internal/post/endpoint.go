package post

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
)

// DefaultTimeout bounds a request.
const DefaultTimeout = 30 * time.Second

// Timeout returns d or the default, and reports a negative one.
func Timeout(d time.Duration) (time.Duration, error) {
	switch {
	case d < 0:
		return 0, fmt.Errorf("option Timeout: %v is negative", d)
	case d == 0:
		return DefaultTimeout, nil
	}
	return d, nil
}

// Token reports a token that is empty, unless optional, or cannot stand in a
// header.
func Token(field string, s secret.Secret, optional bool) error {
	text := s.Reveal()
	switch {
	case text == "" && !optional:
		return fmt.Errorf("option %s is empty: the receiver asks for it", field)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }):
		return fmt.Errorf("option %s holds a character that cannot stand in a header", field)
	}
	return nil
}

// Basic sets basic authentication on h, if there is a user.
func Basic(h http.Header, user string, password secret.Secret) error {
	switch {
	case user == "" && password.IsZero():
		return nil
	case user == "":
		return errors.New("option Password is set, but Username is empty")
	case strings.Contains(user, ":"):
		return errors.New("option Username holds a colon")
	}
	h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password.Reveal())))
	return nil
}
