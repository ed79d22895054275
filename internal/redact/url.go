package redact

import "strings"

// URL returns an address or connection string as it may be shown: scheme, host
// and path of a URL, with a Mask for userinfo, query and fragment; the password
// and its like of "host=h password=p" and "Server=h;Password=p"; the userinfo
// of "user:password@tcp(host)/name". What is none of these is returned as it
// is. A path may be a secret too, as a webhook's is: use a Secret there.
func URL(s string) string {
	before, after, ok := strings.Cut(s, "://")
	if !ok {
		return userinfo(pairs(s), true)
	}
	if strings.ContainsAny(before, "=; \t\r\n\"'") {
		return URLs(s) // a connection string that holds an address
	}

	scheme, rest := before, after
	user, host, path := split(scheme, rest)
	if user {
		host = Mask + "@" + host
	}
	if at := strings.IndexAny(path, "?#"); at >= 0 {
		path = path[:at+1] + Mask
	}
	return scheme + "://" + host + path
}

// split cuts what follows "://" into host and path, and reports whether there
// was a userinfo before the host.
func split(scheme, rest string) (user bool, host, path string) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest, '@')

	// A password may hold a slash that nobody escaped: what stands before the
	// last @ is userinfo then. A web address may hold an @ in its path; if what
	// stands before the path is a host, it is one.
	if at > end && web(scheme) && isHost(rest[:end]) {
		at = -1
	}
	if at < 0 {
		return false, rest[:end], rest[end:]
	}
	rest = rest[at+1:]
	end = strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return true, rest[:end], rest[end:]
}

func web(scheme string) bool {
	scheme = strings.ToLower(scheme)
	return strings.HasSuffix(scheme, "http") || strings.HasSuffix(scheme, "https")
}

// isHost reports whether s is a host, with a port or without.
func isHost(s string) bool {
	if strings.Contains(s, "@") {
		return false
	}
	if strings.HasPrefix(s, "[") {
		return true // an IPv6 address
	}
	_, port, _ := strings.Cut(s, ":")
	return strings.Trim(port, "0123456789") == ""
}

// URLs replaces every address in text by scheme, host and "/…", and hides the
// passwords of other connection strings as [URL] does.
func URLs(text string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, "://")
		if i < 0 {
			b.WriteString(userinfo(pairs(text), false))
			return b.String()
		}

		// The scheme stays with what is before it.
		start := i + len("://")
		b.WriteString(userinfo(pairs(text[:start]), false))
		scheme := text[strings.LastIndexAny(text[:i], " \t\r\n\"'<>`(=")+1 : i]
		text = text[start:]

		// The address ends at a character that cannot stand in one; a
		// separator that ends it in a sentence is not part of it.
		end := strings.IndexFunc(text, func(r rune) bool {
			return r <= ' ' || strings.ContainsRune("\"'<>`\\|", r)
		})
		if end < 0 {
			end = len(text)
		}
		address := strings.TrimRight(text[:end], ":,.;)")

		user, host, path := split(scheme, address)
		b.WriteString(host)
		if user || path != "" {
			b.WriteString("/" + ellipsis)
		}
		text = text[len(address):]
	}
}

// secretNames are the ends of names whose values are hidden, without the signs
// and spaces that part their words.
var secretNames = []string{
	"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey",
	"accountkey", "accesskey", "secretkey", "privatekey", "signature", "credential", "credentials",
}

// pairs hides the values of secret names in s: "password=p" of libpq,
// "Account Key=k;" of ADO.NET and cloud storages, "token=t&" of a query.
func pairs(s string) string {
	var b strings.Builder
	kept := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '=' || i < kept {
			continue
		}
		name := nameBefore(s[kept:i])
		if !namesSecret(name) {
			continue
		}

		from := i + 1
		for from < len(s) && s[from] == ' ' {
			from++
		}
		before := strings.TrimRight(s[:i-len(name)], " ")
		to := from + valueLength(s[from:], before)
		if to > from {
			b.WriteString(s[kept:from] + Mask)
			kept = to
		}
	}
	return b.String() + s[kept:]
}

// nameBefore returns the name that ends s: letters, digits, the signs that
// part words, and single spaces between words.
func nameBefore(s string) string {
	i := len(s)
	for i > 0 && (isBase64(s[i-1]) && s[i-1] != '+' && s[i-1] != '/' || s[i-1] == '.' || s[i-1] == ' ') {
		i--
	}
	return strings.TrimLeft(s[i:], " ")
}

func namesSecret(name string) bool {
	name = strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(strings.ToLower(name))
	for _, end := range secretNames {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// valueLength returns the length of the value that s begins with. What stands
// before the name says where an unquoted one ends.
func valueLength(s, before string) int {
	if s == "" {
		return 0
	}
	if quote := s[0]; quote == '\'' || quote == '"' {
		for i := 1; i < len(s); i++ {
			switch {
			case s[i] == '\\', s[i] == quote && i+1 < len(s) && s[i+1] == quote:
				i++
			case s[i] == quote:
				return i + 1
			}
		}
		return len(s)
	}

	space := unescaped(s, " \t\r\n\"'")
	semicolon := unescaped(s, ";\n")
	switch {
	case strings.HasSuffix(before, ";"):
		return semicolon
	case strings.HasSuffix(before, "?"), strings.HasSuffix(before, "&"):
		return unescaped(s, "&# \t\r\n\"'")
	case before == "" && semicolon < len(s): // libpq's or ADO.NET's: hide enough for both
		return max(space, semicolon)
	}
	return space
}

// unescaped returns the index of the first of the ends in s that no backslash
// stands before, or the length of s.
func unescaped(s, ends string) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.IndexByte(ends, s[i]) >= 0:
			return i
		}
	}
	return len(s)
}

// userinfo hides the user and password before "@tcp(host)/name", as
// go-sql-driver writes them, and before "@host" where nothing else is there.
// The password may hold spaces if s is a connection string, not a sentence.
func userinfo(s string, connection bool) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s
	}

	name, _, driver := strings.Cut(s[at+1:], "(")
	driver = driver && name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 || !isBase64(byte(r)) })
	if !driver && strings.ContainsAny(s, " \t\r\n") {
		return s
	}

	from := 0
	if !connection {
		from = strings.LastIndexAny(s[:at], " \t\r\n\"'<>(") + 1
	}
	if !strings.Contains(s[from:at], ":") {
		return s
	}
	return s[:from] + Mask + s[at:]
}
