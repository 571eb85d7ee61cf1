"""What is told by its wording: injections, jailbreaks, commands; weighted rules and a small model beside them."""
