package post

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
)

// Token adds to wrong a token that is empty, unless optional, or cannot stand in
// a header.
func Token(wrong *options.Mistakes, field string, s secret.Secret, optional bool) {
	text := s.Reveal()
	switch {
	case text == "" && !optional:
		wrong.Add(field, "is missing: the receiver asks for it")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }):
		wrong.Add(field, "holds a character that cannot stand in a header: give it without spaces around it and line ends")
	}
}

// Basic sets basic authentication on h, if there is a user, and adds to wrong
// what cannot be sent so.
func Basic(wrong *options.Mistakes, h http.Header, user string, password secret.Secret) {
	switch {
	case user == "" && password.IsZero():
	case user == "":
		wrong.Add("Username", "is missing, and Password is set: give both or none")
	case strings.Contains(user, ":"):
		wrong.Add("Username", "holds a colon: basic authentication has none in a name")
	default:
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password.Reveal())))
	}
}
