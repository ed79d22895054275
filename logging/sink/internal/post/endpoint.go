package post

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Token reports a token that is empty, unless optional, or cannot stand in a
// header.
func Token(field string, s secret.Secret, optional bool) error {
	text := s.Reveal()
	switch {
	case text == "" && !optional:
		return fmt.Errorf("%s is empty: the receiver asks for it", field)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }):
		return fmt.Errorf("%s holds a character that cannot stand in a header", field)
	}
	return nil
}

// Basic sets basic authentication on h, if there is a user.
func Basic(h http.Header, user string, password secret.Secret) error {
	switch {
	case user == "" && password.IsZero():
		return nil
	case user == "":
		return errors.New("Password is set, but Username is empty")
	case strings.Contains(user, ":"):
		return errors.New("Username holds a colon")
	}
	h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password.Reveal())))
	return nil
}
