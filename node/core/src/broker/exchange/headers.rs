//! Headers: a message goes where its headers fit the arguments of the binding; `x-match` says whether all or any must.

use tercet_proto::amqp::{FieldTable, FieldValue, TableView};

use super::Destination;

#[derive(Debug, Default)]
pub(super) struct Headers {
    bindings: Vec<(FieldTable, Destination)>,
}

/// The modes of `x-match`. Those without `WithX` leave out headers whose name begins with `x-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    All,
    Any,
    AllWithX,
    AnyWithX,
}

impl Match {
    fn of(arguments: &FieldTable) -> Option<Self> {
        let Some(value) = arguments.get("x-match") else { return Some(Self::All) };
        match value.as_str()? {
            "all" => Some(Self::All),
            "any" => Some(Self::Any),
            "all-with-x" => Some(Self::AllWithX),
            "any-with-x" => Some(Self::AnyWithX),
            _ => None,
        }
    }
}

/// What `x-match` of a binding would have to be; `None` when it is right.
pub(super) fn wrong_match(arguments: &FieldTable) -> Option<String> {
    if Match::of(arguments).is_some() {
        return None;
    }
    let given = arguments.get("x-match").and_then(FieldValue::as_str).unwrap_or("a value of another type");
    Some(format!("Invalid x-match field value <<\"{given}\">>; expected all, any, all-with-x, or any-with-x"))
}

impl Headers {
    pub(super) fn insert(&mut self, arguments: &FieldTable, destination: Destination) {
        self.bindings.push((arguments.clone(), destination));
    }

    pub(super) fn remove(&mut self, arguments: &FieldTable, destination: &Destination) {
        if let Some(at) = self.bindings.iter().position(|(a, d)| a == arguments && d == destination) {
            self.bindings.swap_remove(at);
        }
    }

    pub(super) fn route<'a>(&'a self, headers: Option<TableView<'_>>, visit: &mut dyn FnMut(&'a Destination)) {
        let headers = headers.map(TableView::to_table).unwrap_or_default();
        self.bindings.iter().filter(|(arguments, _)| fits(arguments, &headers)).for_each(|(_, to)| visit(to));
    }
}

fn fits(arguments: &FieldTable, headers: &FieldTable) -> bool {
    let Some(mode) = Match::of(arguments) else { return false };
    let with_x = matches!(mode, Match::AllWithX | Match::AnyWithX);
    let mut wanted = arguments.iter().filter(|(name, _)| {
        let name = name.as_bytes();
        name != b"x-match" && (with_x || !name.starts_with(b"x-"))
    });
    let holds = |name: &str, value: &FieldValue| match headers.get(name) {
        None => false,
        // A binding without a value asks for the header only.
        Some(_) if *value == FieldValue::Void => true,
        Some(header) => match (header.as_i64(), value.as_i64()) {
            (Some(header), Some(value)) => header == value,
            _ => header == value || equal_floats(header, value),
        },
    };
    match mode {
        Match::All | Match::AllWithX => wanted.all(|(name, value)| holds(&name.to_text(), value)),
        Match::Any | Match::AnyWithX => wanted.any(|(name, value)| holds(&name.to_text(), value)),
    }
}

/// Numbers of which one has a fraction, or could have one: 1 is 1.0, as in RabbitMQ.
fn equal_floats(one: &FieldValue, other: &FieldValue) -> bool {
    let float = |value: &FieldValue| match value {
        FieldValue::F32(number) => Some(f64::from(*number)),
        FieldValue::F64(number) => Some(*number),
        other => other.as_i64().map(|number| number as f64),
    };
    matches!((float(one), float(other)), (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fields: &[(&'static str, FieldValue)]) -> FieldTable {
        fields.iter().map(|(key, value)| ((*key).try_into().unwrap(), value.clone())).collect()
    }

    #[test]
    fn all_and_any_and_the_names_with_x() {
        let a = ("a", FieldValue::I32(1));
        let b = ("b", FieldValue::from("two"));
        let x = ("x-c", FieldValue::Bool(true));
        let mode = |mode: &str| ("x-match", FieldValue::from(mode));
        let check = |arguments: Vec<(&'static str, FieldValue)>, headers: Vec<(&'static str, FieldValue)>| {
            fits(&table(&arguments), &table(&headers))
        };
        assert!(check(vec![a.clone(), b.clone()], vec![a.clone(), b.clone()]));
        assert!(!check(vec![a.clone(), b.clone()], vec![a.clone()]), "all is the default");
        assert!(check(vec![mode("any"), a.clone(), b.clone()], vec![b.clone()]));
        assert!(!check(vec![mode("any"), a.clone()], vec![b.clone()]));
        assert!(check(vec![mode("all"), a.clone(), x.clone()], vec![a.clone()]), "x- names are left out");
        assert!(!check(vec![mode("all-with-x"), a.clone(), x.clone()], vec![a.clone()]));
        assert!(check(vec![mode("any-with-x"), x.clone()], vec![x.clone()]));
        assert!(!check(vec![mode("any"), x.clone()], vec![x]));
        assert!(check(vec![("a", FieldValue::Void)], vec![a.clone()]));
        assert!(check(vec![a.clone()], vec![("a", FieldValue::I64(1))]), "integers by value");
        assert!(check(vec![a.clone()], vec![("a", FieldValue::F64(1.0))]), "and so are floats");
        assert!(!check(vec![a], vec![("a", FieldValue::F64(1.5))]));
        assert!(check(vec![], vec![b]), "no wish is always met");
    }

    #[test]
    fn a_wrong_mode_is_told() {
        let told = wrong_match(&table(&[("x-match", "some".into())])).unwrap();
        assert_eq!(told, "Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x");
        assert_eq!(wrong_match(&FieldTable::new()), None);
    }
}
