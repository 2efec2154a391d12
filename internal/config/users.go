package config

// checkUsers applies the rules of upstreams that users sign in to for themselves.
func checkUsers(d *decoder, cfg *Config) {
	for i := range cfg.Upstreams {
		u := &cfg.Upstreams[i]
		if !u.Auth.PerUser() {
			continue
		}
		at := join("upstream", u.Name) + ".auth.per"
		switch {
		case u.Name == "callback":
			d.fault(at, "cannot be for an upstream called callback: the page to connect it, /connect/callback, is where browsers come back to", "give the upstream another name")
		case cfg.Server.Auth.Type == "oidc" && cfg.Server.Auth.ClientID == "":
			d.fault("server.auth.client_id", "is missing: users of "+u.Name+" sign in for themselves, with a browser that has to show whose it is",
				`register a client at the issuer, with the redirect URI /connect/callback below public_url, and set for example client_id = "bulkhead-pages"`)
			return // once
		}
	}
}
