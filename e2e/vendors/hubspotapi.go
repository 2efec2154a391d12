package vendors

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// route answers the API: /crm/objects/VERSION/OBJECT, and what describes it.
func (h *HubSpot) route(w http.ResponseWriter, r *http.Request, body []byte) {
	h.records.Lock()
	defer h.records.Unlock()
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/crm/"), "/")
	if len(parts) < 2 || parts[1] != "2026-03" {
		say(w, http.StatusNotFound, hubspotRefusal("OBJECT_NOT_FOUND", "there is no such version"))
		return
	}
	what := r.Method + " " + parts[0] + strings.Repeat("/#", len(parts)-2)
	if len(parts) == 4 && parts[3] == "search" {
		what = r.Method + " search"
	}
	list, known := h.records.objects[parts[min(2, len(parts)-1)]]
	switch {
	case what == "GET owners":
		say(w, http.StatusOK, record{"results": []record{{"id": "71", "email": "ann@example.com", "firstName": "Ann", "lastName": "Agent", "userId": 1, "archived": false}}})
	case !known:
		say(w, http.StatusNotFound, hubspotRefusal("OBJECT_NOT_FOUND", "Unable to infer record type from: "+parts[len(parts)-1]))
	case what == "GET properties/#":
		say(w, http.StatusOK, record{"results": []record{{"name": "dealstage", "label": "Deal stage", "type": "enumeration", "fieldType": "radio",
			"description": "Where it stands", "options": []record{{"value": "won", "label": "Won", "displayOrder": 0}}}}})
	case what == "GET objects/#":
		h.list(w, r, list)
	case what == "POST search":
		h.search(w, body, list, hubspotTitles[parts[2]])
	case what == "GET objects/#/#":
		h.one(w, r, list, parts[3])
	case what == "POST objects/#":
		h.write(w, r, body, parts[2], nil)
	case what == "PATCH objects/#/#":
		at := slices.IndexFunc(list, func(o record) bool { return o["id"] == parts[3] })
		if at < 0 {
			say(w, http.StatusNotFound, hubspotRefusal("OBJECT_NOT_FOUND", "Object not found. objectId are usually numeric."))
			return
		}
		h.write(w, r, body, parts[2], list[at])
	default:
		say(w, http.StatusMethodNotAllowed, hubspotRefusal("VALIDATION_ERROR", "HTTP 405 Method Not Allowed"))
	}
}

// view gives of a record the properties that are asked for.
func hubspotView(o record, names []string) record {
	have, want := o.member("properties"), record{}
	for _, name := range slices.Concat([]string{"hs_object_id"}, names) {
		if name != "" {
			want[name] = have[name] // null where there is none
		}
	}
	return o.with(record{"properties": want})
}

func (h *HubSpot) list(w http.ResponseWriter, r *http.Request, list []record) {
	q := r.URL.Query()
	h.pages(w, list, q.Get("limit"), q.Get("after"), 100, strings.Split(q.Get("properties"), ","), record{})
}

// pages answers with a page: the cursor is the id of the next record.
func (h *HubSpot) pages(w http.ResponseWriter, list []record, limit, after string, most int, properties []string, answer record) {
	size := 10
	if limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > most {
			say(w, http.StatusBadRequest, hubspotRefusal("VALIDATION_ERROR", fmt.Sprintf("limit must be at most %d", most)))
			return
		}
		size = n
	}
	from := 0
	if after != "" {
		n, err := strconv.Atoi(after)
		if err != nil || n < 0 || n > len(list) {
			say(w, http.StatusBadRequest, hubspotRefusal("VALIDATION_ERROR", "Invalid after"))
			return
		}
		from = n
	}
	to := min(from+size, len(list))
	results := make([]record, 0, size)
	for _, o := range list[from:to] {
		results = append(results, hubspotView(o, properties))
	}
	answer["results"] = results
	if to < len(list) {
		answer["paging"] = record{"next": record{"after": strconv.Itoa(to), "link": "?after=" + strconv.Itoa(to)}}
	}
	say(w, http.StatusOK, answer)
}

// search finds records whose title contains the query and that pass EQ filters.
func (h *HubSpot) search(w http.ResponseWriter, body []byte, list []record, title string) {
	var ask struct {
		Query        string      `json:"query"`
		Limit        json.Number `json:"limit"`
		After        json.Number `json:"after"`
		Properties   []string    `json:"properties"`
		FilterGroups []struct {
			Filters []struct{ PropertyName, Operator, Value string } `json:"filters"`
		} `json:"filterGroups"`
		Sorts []any `json:"sorts"`
	}
	if err := json.Unmarshal(body, &ask); err != nil || len(ask.FilterGroups) > 5 || len(ask.Query) > 3000 {
		say(w, http.StatusBadRequest, hubspotRefusal("VALIDATION_ERROR", "Invalid input JSON"))
		return
	}
	found := slices.DeleteFunc(slices.Clone(list), func(o record) bool {
		p := o.member("properties")
		ok := len(ask.FilterGroups) == 0
		for _, g := range ask.FilterGroups {
			all := true
			for _, f := range g.Filters {
				all = all && f.Operator == "EQ" && p.text(f.PropertyName) == f.Value
			}
			ok = ok || all
		}
		return !ok || !strings.Contains(p.text(title), ask.Query)
	})
	h.pages(w, found, ask.Limit.String(), ask.After.String(), 200, ask.Properties, record{"total": len(found)})
}

func (h *HubSpot) one(w http.ResponseWriter, r *http.Request, list []record, id string) {
	at := slices.IndexFunc(list, func(o record) bool { return o["id"] == id })
	if at < 0 {
		say(w, http.StatusNotFound, hubspotRefusal("OBJECT_NOT_FOUND", "Object not found. objectId are usually numeric."))
		return
	}
	o := hubspotView(list[at], strings.Split(r.URL.Query().Get("properties"), ","))
	if names := r.URL.Query().Get("associations"); names != "" {
		links := record{}
		for name := range strings.SplitSeq(names, ",") {
			links[name] = record{"results": []record{{"id": "501", "type": "to_" + name}}}
		}
		o["associations"] = links
	}
	say(w, http.StatusOK, o)
}

// write makes a record, or changes one.
func (h *HubSpot) write(w http.ResponseWriter, r *http.Request, body []byte, name string, o record) {
	form, ok := formFields(r, body)
	properties := form.member("properties")
	if !ok || properties == nil {
		say(w, http.StatusBadRequest, hubspotRefusal("VALIDATION_ERROR", "Invalid input JSON: properties is missing"))
		return
	}
	if _, bad := properties["nonsense"]; bad {
		say(w, http.StatusBadRequest, hubspotRefusal("VALIDATION_ERROR", `Property values were not valid: [{"isValid":false,"message":"Property \"nonsense\" does not exist"}]`).with(
			record{"errors": []record{{"message": `Property "nonsense" does not exist`, "code": "PROPERTY_DOESNT_EXIST", "context": record{"propertyName": []string{"nonsense"}}}}}))
		return
	}
	status := http.StatusOK
	if o == nil {
		status = http.StatusCreated
		id := strconv.Itoa(500 + len(h.records.objects[name]))
		o = hubspotRecord(id, record{"hs_object_id": id})
		h.records.objects[name] = append(h.records.objects[name], o)
	}
	have := o.member("properties")
	maps.Copy(have, properties)
	say(w, status, o)
}
